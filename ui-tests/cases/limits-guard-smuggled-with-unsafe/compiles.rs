//! Limit: A wrapper that lies about `Send` with `unsafe` takes the guard to another thread.
//! QEMU: every pointer goes to every thread.
//! Why: `unsafe impl` is a promise of its author. Nothing is reached there: the guard looks
//! where it is.

use block_gs::{BqlGuard, nodes};
use ui_tests::{in_main_loop, null};

struct Smuggled<'a>(&'a BqlGuard);

// SAFETY: there is none; this is what the limit is about.
unsafe impl Send for Smuggled<'_> {}

impl Smuggled<'_> {
    fn node_count(self) -> usize {
        nodes(self.0).count()
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _node = null(bql, "node");
        let smuggled = Smuggled(bql);
        let found = std::thread::scope(|scope| scope.spawn(|| smuggled.node_count()).join());
        assert!(found.is_err(), "the other thread has entered no layer");
        Ok(())
    });
}
