//! Rule R12: A node that has moved to an iothread is not activated there.
//! QEMU: V064, blk_exp_add() moves the node, then bdrv_invalidate_cache() ->
//! bdrv_co_invalidate_cache() in its new context.
//! Shape: generic.
//! Why: Waiting for the driver takes either proof, changing permissions a `&mut BqlGuard`.

use block_gs::{Backend, BqlGuard, IoThread, MainOrHome, Perm};
use std::sync::mpsc;
use ui_tests::{Outcome, disk, in_main_loop, iothread, null};

fn bdrv_co_invalidate_cache(at: &mut impl MainOrHome, blk: &Backend) -> Outcome {
    blk.flush_blocking(at)?;
    blk.set_perm(at, Perm::WRITE, Perm::all())?;
    //~^ E0308 "expected `&mut BqlGuard`, found `&mut impl MainOrHome`"
    Ok(())
}

fn bdrv_invalidate_cache(blk: Backend) -> bool {
    let (reply, activated) = mpsc::channel();
    blk.root().context().schedule(move |home| {
        let outcome = bdrv_co_invalidate_cache(home, &blk);
        reply.send(outcome.is_ok()).expect("a receiver");
    });
    activated.recv().expect("a reply")
}

fn blk_exp_add(bql: &mut BqlGuard, blk: &Backend, to: &IoThread) -> Outcome {
    blk.set_iothread(bql, Some(to))?;
    assert!(bdrv_invalidate_cache(blk.clone()));
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
