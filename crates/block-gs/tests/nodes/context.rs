//! Hearing of moves.

use std::sync::{Arc, Mutex};

use block_gs::{BqlGuard, ContextNotification, ContextNotifier, IoThread};
use block_io::aio::AioContext;

use crate::common::{Mem, filter, in_layer, node};

#[derive(Default)]
struct Ear(Mutex<Vec<String>>);

impl Ear {
    fn note(&self, what: &str, context: &AioContext) {
        let mut heard = self.0.lock().expect("no panic");
        heard.push(format!("{what} {}", context.name()));
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no panic"))
    }
}

impl ContextNotifier for Ear {
    fn detached(&self, _bql: &BqlGuard, context: &AioContext) {
        self.note("detached", context);
    }

    fn attached(&self, _bql: &BqlGuard, context: &AioContext) {
        self.note("attached", context);
    }
}

#[test]
fn a_notifier_hears_of_moves_while_it_is_registered() {
    in_layer(|bql| {
        let (file, _) = node(bql, "file", Mem::of(512));
        let (top, _) = filter(bql, "top", &file);
        let thread = IoThread::create(bql, "io0").expect("a thread");
        let (ear, other) = (Arc::new(Ear::default()), Arc::new(Ear::default()));
        let first: ContextNotification = file.notify_of_context(bql, ear.clone());
        let second = file.notify_of_context(bql, other.clone());
        // The parent moves, and takes the file along.
        top.set_iothread(bql, Some(&thread)).expect("moved");
        assert_eq!(ear.heard(), ["detached main", "attached io0"]);
        first.end(bql);
        top.set_iothread(bql, None).expect("moved");
        assert_eq!(ear.heard(), Vec::<String>::new());
        assert_eq!(other.heard().len(), 4);
        drop(second);
        bql.run_for(std::time::Duration::from_millis(1));
        top.set_iothread(bql, Some(&thread)).expect("moved");
        assert_eq!(other.heard(), Vec::<String>::new());
    });
}
