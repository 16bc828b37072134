//! Rule R12: A coroutine sent to the context of a node does not update its permissions.
//! QEMU: V063, blk_exp_add() -> bdrv_invalidate_cache() -> bdrv_co_invalidate_cache().
//! Shape: async.
//! Why: The caller has the `BqlGuard`, in the main thread. It does not travel with the coroutine.

use block_gs::{Backend, BqlGuard, GraphError, Perm};
use ui_tests::{disk, in_main_loop, iothread, null};

async fn bdrv_co_invalidate_cache(bql: &mut BqlGuard, blk: Backend) -> Result<(), GraphError> {
    blk.root().flush().await?;
    blk.set_perm(bql, Perm::WRITE, Perm::all())
}

fn bdrv_invalidate_cache(bql: &mut BqlGuard, blk: &Backend) -> Result<(), GraphError> {
    let coroutine = bdrv_co_invalidate_cache(bql, blk.clone());
    let coroutine = blk.root().spawn(coroutine);
    //~^ "future cannot be sent between threads safely"
    bql.block_on(coroutine)
}

fn blk_exp_add(bql: &mut BqlGuard, blk: &Backend) -> Result<Perm, GraphError> {
    bdrv_invalidate_cache(bql, blk)?;
    Ok(blk.perms(bql).perm)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let export = disk(bql, "export", &node);
        export.set_iothread(bql, Some(&io0))?;
        assert_eq!(blk_exp_add(bql, &export)?, Perm::WRITE);
        Ok(())
    });
}
