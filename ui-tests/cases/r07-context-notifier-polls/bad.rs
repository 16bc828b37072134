//! Rule R7: Who hears that a node arrives in another context does not poll there.
//! QEMU: None recorded. The notifiers run between detaching the node and attaching it, and may
//! call anything.
//! Shape: trait-object.
//! Why: The callback gets `&BqlGuard`, and polling takes it exclusively.

use std::sync::Arc;

use block_gs::{BqlGuard, ContextNotifier};
use block_io::aio::AioContext;
use ui_tests::{in_main_loop, iothread, null};

struct Timers;

impl ContextNotifier for Timers {
    fn attached(&self, bql: &BqlGuard, context: &AioContext) {
        bql.block_on(context.spawn(async {}));
        //~^ E0596 "cannot borrow `*bql` as mutable, as it is behind a `&` reference"
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let notifier: Arc<dyn ContextNotifier> = Arc::new(Timers);
        let hears = node.notify_of_context(bql, notifier);
        let io0 = iothread(bql, "io0");
        node.set_iothread(bql, Some(&io0))?;
        hears.end(bql);
        Ok(())
    });
}
