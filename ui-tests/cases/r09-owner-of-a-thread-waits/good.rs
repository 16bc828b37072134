//! Twin of bad.rs: the owner asks the thread, with a bottom half.

use block_gs::{Backend, BqlGuard};
use block_io::aio::ContextThread;
use ui_tests::{Outcome, disk, in_main_loop, null};

struct Export {
    thread: ContextThread,
    disk: Backend,
}

impl Export {
    fn shutdown(self, bql: &mut BqlGuard) -> Outcome {
        self.disk.flush_blocking(bql)?;
        Ok(self.thread.stop()?)
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let (thread, disk) = (ContextThread::spawn("own")?, disk(bql, "disk", &node));
        let export = Export { thread, disk };
        export.shutdown(bql)
    });
}
