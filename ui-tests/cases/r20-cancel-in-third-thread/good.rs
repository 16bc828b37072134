//! Twin of bad.rs: it cancels, and the main thread waits.

use block_gs::{BqlGuard, MainOrHome};
use block_io::aio::sleep;
use std::time::Duration;
use ui_tests::{in_main_loop, iothread};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let context = iothread(bql, "io0").context().clone();
        let request = context.spawn(sleep(Duration::from_secs(3600)));
        let third = std::thread::spawn(move || request.cancel());
        let cancel = third.join().expect("no panic");
        assert_eq!(bql.wait_for(&context, cancel)?, None);
        Ok(())
    });
}
