//! Rule R9: A thread that is neither main nor home cannot wait for I/O.
//! QEMU: V030, V130, BDRV_POLL_WHILE() in a third thread.
//! Shape: thread.
//! Why: `MainOrHome` is sealed; the loop that a third thread makes for itself is no proof.

use block_gs::BqlGuard;
use block_io::aio::EventLoop;
use ui_tests::{SIZE, disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let third = std::thread::spawn(move || {
            let mut own = EventLoop::new("third").expect("a loop");
            disk.length_blocking(&mut own)
            //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread, and `block_io::aio::EventLoop` is neither"
        });
        assert_eq!(third.join().expect("no panic")?, SIZE);
        Ok(())
    });
}
