//! Twin of bad.rs: the inner one ends first.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (a, b) = (null(bql, "a"), null(bql, "b"));
        let mut outer = a.drain(bql);
        let inner = outer.also(&b);
        inner.end();
        outer.end();
        Ok(())
    });
}
