//! Twin of bad.rs: the coroutine does the driver's half, its caller the permissions.

use block_gs::{Backend, BqlGuard, GraphError, Perm};
use ui_tests::{disk, in_main_loop, iothread, null};

async fn bdrv_co_invalidate_cache(blk: Backend) -> Result<(), GraphError> {
    blk.root().flush().await?;
    Ok(())
}

fn bdrv_invalidate_cache(bql: &mut BqlGuard, blk: &Backend) -> Result<(), GraphError> {
    let coroutine = bdrv_co_invalidate_cache(blk.clone());
    let coroutine = blk.root().spawn(coroutine);
    bql.block_on(coroutine)?;
    blk.set_perm(bql, Perm::WRITE, Perm::all())
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
