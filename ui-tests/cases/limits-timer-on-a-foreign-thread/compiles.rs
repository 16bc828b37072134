//! Limit: A timer is polled by a thread that runs no loop, and panics.
//! QEMU: qemu_co_sleep_ns() in a thread without an AioContext.
//! Why: A future does not say who will poll it. The first poll looks.

use block_gs::BqlGuard;
use block_io::aio::sleep;
use std::task::{Context, Waker};
use std::{pin::pin, time::Duration};
use ui_tests::in_main_loop;

fn poll_once() -> bool {
    let mut context = Context::from_waker(Waker::noop());
    let timer = pin!(sleep(Duration::from_secs(1)));
    timer.poll(&mut context).is_pending()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        assert!(poll_once());
        assert!(std::thread::spawn(poll_once).join().is_err());
        bql.block_on(sleep(Duration::ZERO));
        Ok(())
    });
}
