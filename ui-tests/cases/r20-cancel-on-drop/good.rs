//! Twin of bad.rs: who wants to wait takes the request out, with its proof.

use block_gs::{BqlGuard, MainOrHome};
use block_io::aio::{AioContext, JoinHandle, sleep};
use std::time::Duration;
use ui_tests::{in_main_loop, iothread};

struct Device {
    context: AioContext,
    request: Option<JoinHandle<()>>,
}

impl Device {
    fn unplug(mut self, bql: &mut BqlGuard) {
        let request = self.request.take().expect("a request");
        let waited = bql.wait_for(&self.context, request.cancel());
        assert!(waited.is_ok());
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let context = iothread(bql, "io0").context().clone();
        let request = Some(context.spawn(sleep(Duration::from_secs(3600))));
        Device { context, request }.unplug(bql);
        Ok(())
    });
}
