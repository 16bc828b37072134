//! Twin of bad.rs: the future asks the main loop.

use block_gs::{BqlGuard, nodes};
use ui_tests::{in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (_node, main) = (null(bql, "node"), bql.main_loop());
        let context = iothread(bql, "io0").context().clone();
        let counted = context.spawn(async move { main.call(|bql| nodes(bql).count()).await });
        assert_eq!(bql.block_on(counted)?, 1);
        Ok(())
    });
}
