//! Rule R9: Who owns a thread with a loop is not on it.
//! QEMU: V030, BDRV_POLL_WHILE() is legal in the home thread, and not in a third one.
//! Shape: field.
//! Why: `ContextThread` is a handle; the loop lends the proof to what runs on it.

use block_gs::{Backend, BqlGuard};
use block_io::aio::ContextThread;
use ui_tests::{Outcome, disk, in_main_loop, null};

struct Export {
    thread: ContextThread,
    disk: Backend,
}

impl Export {
    fn shutdown(mut self) -> Outcome {
        Ok(self.disk.flush_blocking(&mut self.thread)?)
        //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread"
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let (thread, disk) = (ContextThread::spawn("own")?, disk(bql, "disk", &node));
        let export = Export { thread, disk };
        export.shutdown()
    });
}
