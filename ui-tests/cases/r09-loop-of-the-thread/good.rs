//! Twin of bad.rs: the loop lends the proof to a bottom half.

use block_gs::{Backend, BqlGuard, WaitError};
use block_io::aio::{EventLoop, Wait};
use ui_tests::{disk, in_main_loop, null};

thread_local! {
    static OWN: EventLoop = EventLoop::new("own").expect("a loop");
}

fn flush(disk: Backend) {
    let refused = move |result| assert!(matches!(result, Err(WaitError::WrongThread { .. })));
    OWN.with(|own| {
        own.context()
            .schedule(move |home| refused(disk.flush_blocking(home)))
    });
    OWN.with(|own| assert!(own.poll(Wait::No)));
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
