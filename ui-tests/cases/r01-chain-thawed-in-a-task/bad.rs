//! Rule R1: A task that keeps a frozen chain does not thaw it itself.
//! QEMU: None recorded. bdrv_unfreeze_backing_chain() is kept out of coroutines by an
//! assertion.
//! Shape: receiver.
//! Why: `thaw` takes the proof; a `FrozenChain` may be dropped anywhere, and thaws in the main
//! loop.

use block_gs::{BqlGuard, FrozenChain, MainLoop};
use ui_tests::{in_main_loop, iothread, null, overlay};

async fn job(chain: FrozenChain, main: MainLoop) -> bool {
    chain.thaw();
    //~^ E0061 "argument #1 of type `&mut BqlGuard` is missing"
    main.call(|_| ()).await.is_ok()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let chain = top.freeze_chain(bql, &base)?;
        let done = job(chain, bql.main_loop());
        let done = iothread(bql, "io0").context().spawn(done);
        assert!(bql.block_on(done));
        assert!(!top.is_chain_frozen(bql, &base)?);
        Ok(())
    });
}
