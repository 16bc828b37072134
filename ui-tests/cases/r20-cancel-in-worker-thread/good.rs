//! Twin of bad.rs: the main loop waits.

use block_gs::{BqlGuard, MainOrHome};
use block_io::aio::sleep;
use std::time::Duration;
use ui_tests::{in_main_loop, iothread};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let context = iothread(bql, "io0").context().clone();
        let request = context.spawn(sleep(Duration::from_secs(3600)));
        let waited = bql.wait_for(&context, request.cancel());
        assert_eq!(waited?, None);
        Ok(())
    });
}
