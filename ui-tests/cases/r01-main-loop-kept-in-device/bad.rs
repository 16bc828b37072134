//! Rule R1: A device that keeps a way to the main loop keeps no proof of being there.
//! QEMU: None recorded. A device in C keeps nothing, and asks the thread.
//! Shape: field.
//! Why: `MainLoop` is `Send` and everybody's; global-state functions take the guard that it
//! lends.

use block_gs::{BqlGuard, MainLoop, nodes};
use std::sync::Arc;
use ui_tests::{in_main_loop, iothread, null};

struct Device {
    main: MainLoop,
}

impl Device {
    async fn media_count(self: Arc<Self>) -> usize {
        nodes(&self.main).count()
        //~^ E0308 "expected `&BqlGuard`, found `&MainLoop`"
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (_node, main) = (null(bql, "node"), bql.main_loop());
        let count = Arc::new(Device { main }).media_count();
        let count = iothread(bql, "io0").context().spawn(count);
        assert_eq!(bql.block_on(count), 1);
        Ok(())
    });
}
