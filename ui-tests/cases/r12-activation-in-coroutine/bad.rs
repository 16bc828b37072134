//! Rule R12: A coroutine sent to the node's context cannot do the permission half of
//! activation.
//! QEMU: V063-V065, bdrv_invalidate_cache() -> bdrv_co_invalidate_cache() in the iothread.
//! Shape: async.
//! Why: The proof of the caller does not travel with the coroutine.

use block_gs::{Backend, BqlGuard, GraphError, Perm};
use ui_tests::{disk, in_main_loop, iothread, null};

fn bdrv_activate(bql: &mut BqlGuard, disk: &Backend) -> Result<(), GraphError> {
    let (export, root) = (disk.clone(), disk.root().clone());
    let bdrv_co_invalidate_cache = disk.root().spawn(async move {
        root.flush().await?;
        export.set_perm(bql, Perm::WRITE, Perm::all())
    });
    //~^^^^ "future cannot be sent between threads safely"
    bql.block_on(bdrv_co_invalidate_cache)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let disk = disk(bql, "disk", &node);
        disk.set_iothread(bql, Some(&io0))?;
        bdrv_activate(bql, &disk)?;
        assert_eq!(disk.perms(bql).perm, Perm::WRITE);
        Ok(())
    });
}
