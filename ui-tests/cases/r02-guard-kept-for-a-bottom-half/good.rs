//! Twin of bad.rs: the bottom half uses the guard that it is lent.

use block_gs::{BqlGuard, nodes};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (found, main) = (Arc::new(AtomicUsize::new(0)), bql.main_loop());
        let _node = null(bql, "node");
        let answer = found.clone();
        main.schedule(move |bql| answer.store(nodes(bql).count(), Ordering::Relaxed));
        bql.poll_until(|_| found.load(Ordering::Relaxed) == 1);
        Ok(())
    });
}
