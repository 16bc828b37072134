//! Rule R9: The loop that a thread keeps for itself is no proof.
//! QEMU: V130, BDRV_POLL_WHILE() in a third thread.
//! Shape: static.
//! Why: Anybody can make an `EventLoop`; only what it lends is a `HomeThread`.

use block_gs::{Backend, BqlGuard};
use block_io::aio::{EventLoop, Wait};
use ui_tests::{disk, in_main_loop, null};

thread_local! {
    static OWN: EventLoop = EventLoop::new("own").expect("a loop");
}

fn flush(disk: Backend) {
    OWN.with(|mut own| assert!(disk.flush_blocking(&mut own).is_err()));
    //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread"
    OWN.with(|own| assert!(!own.poll(Wait::No)));
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let third = std::thread::spawn(move || flush(disk));
        third.join().expect("no panic");
        Ok(())
    });
}
