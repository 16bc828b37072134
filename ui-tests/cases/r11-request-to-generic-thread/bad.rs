//! Rule R11: A helper that starts threads does not take a request.
//! QEMU: None recorded. A thread can be given any pointer.
//! Shape: generic.
//! Why: The bound that such a helper needs is `'static`, and a request is borrowed.

use block_gs::BqlGuard;
use block_io::{Request, Root};
use ui_tests::{disk, in_main_loop, null};

fn start<T: Send + 'static>(state: T, run: fn(T) -> bool) -> bool {
    std::thread::spawn(move || run(state))
        .join()
        .expect("no panic")
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let root: &'static Root = Box::leak(Box::new(disk.root().clone()));
        let in_flight = root.try_begin().expect("not quiesced");
        let run = |request: Request<'_>| request.node().name() == "node";
        assert!(start(in_flight.request()?, run));
        //~^ E0597 "`in_flight` does not live long enough"
        Ok(())
    });
}
