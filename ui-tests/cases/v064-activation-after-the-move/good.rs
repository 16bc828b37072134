//! Twin of bad.rs: also after the move the main thread activates.

use block_gs::{Backend, BqlGuard, IoThread, Perm};
use ui_tests::{Outcome, disk, in_main_loop, iothread, null};

fn bdrv_co_invalidate_cache(bql: &mut BqlGuard, blk: &Backend) -> Outcome {
    blk.flush_blocking(bql)?;
    blk.set_perm(bql, Perm::WRITE, Perm::all())?;
    Ok(())
}

fn bdrv_invalidate_cache(bql: &mut BqlGuard, blk: Backend) -> bool {
    let outcome = bdrv_co_invalidate_cache(bql, &blk);
    outcome.is_ok()
}

fn blk_exp_add(bql: &mut BqlGuard, blk: &Backend, to: &IoThread) -> Outcome {
    blk.set_iothread(bql, Some(to))?;
    assert!(bdrv_invalidate_cache(bql, blk.clone()));
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let export = disk(bql, "export", &node);
        blk_exp_add(bql, &export, &io0)?;
        assert_eq!(export.perms(bql).perm, Perm::WRITE);
        Ok(())
    });
}
