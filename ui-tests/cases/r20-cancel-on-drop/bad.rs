//! Rule R20: What is dropped does not wait for the request that it keeps.
//! QEMU: V027, bdrv_aio_cancel() polls, and has to be in the AioContext that it polls.
//! Shape: field.
//! Why: `drop` has no argument, so it has no proof; it can cancel, and not wait.

use block_gs::{BqlGuard, MainOrHome};
use block_io::aio::{AioContext, JoinHandle, sleep};
use std::time::Duration;
use ui_tests::{in_main_loop, iothread};

struct Device {
    context: AioContext,
    request: Option<JoinHandle<()>>,
}

impl Drop for Device {
    fn drop(&mut self) {
        let request = self.request.take().expect("a request");
        let mut at = self.context.clone();
        let waited = MainOrHome::wait_for(&mut at, &self.context, request.cancel());
        //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread"
        assert!(waited.is_ok());
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let context = iothread(bql, "io0").context().clone();
        let request = Some(context.spawn(sleep(Duration::from_secs(3600))));
        drop(Device { context, request });
        Ok(())
    });
}
