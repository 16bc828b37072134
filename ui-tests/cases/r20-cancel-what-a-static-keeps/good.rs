//! Twin of bad.rs: the caller has one.

use block_gs::{BqlGuard, MainOrHome};
use block_io::aio::{AioContext, JoinHandle, sleep};
use std::{sync::Mutex, time::Duration};
use ui_tests::{in_main_loop, iothread};

static REQUEST: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);

fn reset(at: &mut impl MainOrHome, context: AioContext) {
    let request = REQUEST.lock().expect("no panic").take();
    let cancel = request.expect("just set").cancel();
    let waited = at.wait_for(&context, cancel);
    assert!(waited.is_ok());
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let context = iothread(bql, "io0").context().clone();
        let request = context.spawn(sleep(Duration::from_secs(3600)));
        *REQUEST.lock().expect("no panic") = Some(request);
        reset(bql, context);
        Ok(())
    });
}
