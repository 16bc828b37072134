//! Twin of bad.rs: they end in order and are opened the other way round.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (a, b) = (null(bql, "a"), null(bql, "b"));
        let mut outer = a.drain(bql);
        outer.also(&b).end();
        outer.end();
        let mut outer = b.drain(bql);
        let inner = outer.also(&a);
        assert_eq!(inner.node(), &a);
        Ok(())
    });
}
