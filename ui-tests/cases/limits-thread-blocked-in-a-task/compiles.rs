//! Limit: A task can block its thread by means that the block layer does not know.
//! QEMU: pread() in a coroutine.
//! Why: `std` needs no proof. It delays the loop, and breaks nothing else.

use block_gs::BqlGuard;
use std::time::Duration;
use ui_tests::{in_main_loop, iothread};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let blocked = iothread(bql, "io0").context().spawn(async {
            std::thread::sleep(Duration::from_millis(1));
            7
        });
        assert_eq!(bql.block_on(blocked), 7);
        Ok(())
    });
}
