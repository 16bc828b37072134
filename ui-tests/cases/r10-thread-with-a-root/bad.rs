//! Rule R10: A thread that has a root has not begun a request.
//! QEMU: None recorded. That whoever does I/O is counted is said in comments.
//! Shape: thread.
//! Why: A `Root` may be anywhere; only what it begins makes a `Request`.

use block_gs::BqlGuard;
use block_io::{Request, Root};
use std::thread;
use ui_tests::{disk, in_main_loop, null};

fn name_below(request: Request<'_>) -> String {
    request.node().name().to_owned()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let root: Root = disk.root().clone();
        let third = thread::spawn(move || {
            name_below(&root)
            //~^ E0308 "expected `Request<'_>`, found `&Root`"
        });
        assert_eq!(third.join().expect("no panic"), "node");
        Ok(())
    });
}
