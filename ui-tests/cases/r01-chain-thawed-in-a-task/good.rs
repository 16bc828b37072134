//! Twin of bad.rs: the task gives the chain back to the main loop.

use block_gs::{BqlGuard, FrozenChain, MainLoop};
use ui_tests::{in_main_loop, iothread, null, overlay};

async fn job(chain: FrozenChain, main: MainLoop) -> bool {
    let thawed = main.call(|bql| chain.thaw(bql));
    thawed.await.is_ok()
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
