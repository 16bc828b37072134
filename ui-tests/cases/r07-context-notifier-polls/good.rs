//! Twin of bad.rs: it leaves a task there, and waits for nothing.

use std::sync::Arc;

use block_gs::{BqlGuard, ContextNotifier};
use block_io::aio::AioContext;
use ui_tests::{in_main_loop, iothread, null};

struct Timers;

impl ContextNotifier for Timers {
    fn attached(&self, _bql: &BqlGuard, context: &AioContext) {
        context.spawn(async {}).detach();
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
