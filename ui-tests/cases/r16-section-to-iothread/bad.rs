//! Rule R16: A section is not ended by an iothread.
//! QEMU: None recorded. bdrv_drained_end() can be called by any thread, and checks at run time.
//! Shape: thread.
//! Why: A section contains the main loop's guard, and is not `Send` as that is not.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let section = node.drain(bql);
        std::thread::scope(|scope| {
            let iothread = scope.spawn(move || section.end());
            //~^ E0277 "cannot be sent between threads safely"
            iothread.join().expect("no panic");
        });
        Ok(())
    });
}
