//! Rule R20: Whoever finds a request in a static does not wait for its cancellation.
//! QEMU: None recorded. The requests of a device are in lists, and any thread can walk them.
//! Shape: static.
//! Why: A `JoinHandle` may be anywhere; waiting takes the proof of the caller.

use block_gs::{BqlGuard, MainOrHome};
use block_io::aio::{AioContext, JoinHandle, sleep};
use std::{sync::Mutex, time::Duration};
use ui_tests::{in_main_loop, iothread};

static REQUEST: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);

fn reset(mut context: AioContext) {
    let request = REQUEST.lock().expect("no panic").take();
    let cancel = request.expect("just set").cancel();
    let waited = MainOrHome::wait_for(&mut context, &AioContext::current().expect("one"), cancel);
    //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread"
    assert!(waited.is_ok());
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let context = iothread(bql, "io0").context().clone();
        let request = context.spawn(sleep(Duration::from_secs(3600)));
        *REQUEST.lock().expect("no panic") = Some(request);
        reset(context);
        Ok(())
    });
}
