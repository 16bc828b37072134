//! Rule R20: A thread that is neither main nor home does not wait for what it has cancelled.
//! QEMU: V028, virtio-scsi needs bdrv_aio_cancel_async() in an iothread.
//! Shape: thread.
//! Why: The loop that it makes for itself is no proof.

use block_gs::{BqlGuard, MainOrHome};
use block_io::aio::{EventLoop, sleep};
use std::time::Duration;
use ui_tests::{in_main_loop, iothread};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let context = iothread(bql, "io0").context().clone();
        let request = context.spawn(sleep(Duration::from_secs(3600)));
        let third = std::thread::spawn(move || {
            let mut own = EventLoop::new("own").expect("a loop");
            MainOrHome::wait_for(&mut own, &context, request.cancel()).is_ok()
            //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread"
        });
        assert!(third.join().expect("no panic"));
        Ok(())
    });
}
