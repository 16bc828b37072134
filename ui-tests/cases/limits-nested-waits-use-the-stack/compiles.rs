//! Limit: Main-loop code that waits runs other main-loop code that waits, on the same stack.
//! QEMU: nested aio_poll().
//! Why: The guard is lent on, level by level; no type counts the levels.

use block_gs::{BqlGuard, MainLoop};
use block_io::aio::Wait;
use std::sync::atomic::{AtomicU32, Ordering};
use ui_tests::in_main_loop;

static DEPTH: AtomicU32 = AtomicU32::new(0);
const ENOUGH: u32 = 50;

fn wait(bql: &mut BqlGuard, main: MainLoop) {
    if DEPTH.fetch_add(1, Ordering::Relaxed) < ENOUGH {
        let next = main.clone();
        main.schedule(|bql| wait(bql, next));
        bql.poll(Wait::No);
        // The levels below have returned to this one, not to the main loop.
        assert!(DEPTH.load(Ordering::Relaxed) > ENOUGH);
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let main = bql.main_loop();
        wait(bql, main);
        assert_eq!(DEPTH.load(Ordering::Relaxed), ENOUGH + 1);
        Ok(())
    });
}
