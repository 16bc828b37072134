//! Twin of bad.rs: the main loop activates the parents when the coroutine is done.

use block_gs::{Backend, BqlCell, BqlGuard, GraphError, Perm};
use std::sync::{Arc, OnceLock};
use ui_tests::{disk, in_main_loop, iothread, null};

static VM_CHANGE_STATE_HANDLERS: OnceLock<BqlCell<Vec<String>>> = OnceLock::new();

fn qemu_add_vm_change_state_handler(bql: &mut BqlGuard, name: &str) {
    let handlers = VM_CHANGE_STATE_HANDLERS.get_or_init(|| BqlCell::new(bql, Vec::new()));
    handlers.get_mut(bql).push(name.to_owned());
}

fn blk_root_activate(bql: &mut BqlGuard, blk: &Backend) -> Result<(), GraphError> {
    qemu_add_vm_change_state_handler(bql, blk.name());
    blk.set_perm(bql, Perm::WRITE, Perm::all())
}

trait BdrvChildClass: Send + Sync {
    fn activate(&self, bql: &mut BqlGuard) -> Result<(), GraphError>;
}

struct ChildRoot(Backend);

impl BdrvChildClass for ChildRoot {
    fn activate(&self, bql: &mut BqlGuard) -> Result<(), GraphError> {
        blk_root_activate(bql, &self.0)
    }
}

async fn bdrv_co_invalidate_cache(
    blk: Backend,
    parent: Arc<dyn BdrvChildClass>,
) -> Result<Arc<dyn BdrvChildClass>, GraphError> {
    blk.root().flush().await?;
    Ok(parent)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let blk = disk(bql, "disk", &node);
        let parent = Arc::new(ChildRoot(blk.clone()));
        let coroutine = bdrv_co_invalidate_cache(blk.clone(), parent);
        let coroutine = iothread(bql, "io0").context().spawn(coroutine);
        bql.block_on(coroutine)?.activate(bql)?;
        let handlers = VM_CHANGE_STATE_HANDLERS.get().expect("activated");
        assert_eq!(handlers.get(bql), &["disk"]);
        assert_eq!(blk.perms(bql).perm, Perm::WRITE);
        Ok(())
    });
}
