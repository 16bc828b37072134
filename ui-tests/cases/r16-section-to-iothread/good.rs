//! Twin of bad.rs: the section ends in the main loop.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let section = node.drain(bql);
        std::thread::scope(|scope| {
            let iothread = scope.spawn(|| node.io().in_flight());
            assert_eq!(iothread.join().expect("no panic"), 0);
            section.end();
        });
        Ok(())
    });
}
