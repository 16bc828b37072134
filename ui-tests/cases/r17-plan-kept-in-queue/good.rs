//! Twin of bad.rs: the object keeps what is to be done.

use block_gs::{BqlGuard, Node};
use ui_tests::{Outcome, in_main_loop, null, overlay};

#[derive(Default)]
struct Queue {
    changes: Vec<Node>,
}

fn unplug(bql: &mut BqlGuard, top: &Node) -> Outcome {
    let mut queue = Queue::default();
    queue.changes.push(top.clone());
    for node in queue.changes {
        let mut section = node.drain(bql);
        section.set_backing(None)?;
    }
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        unplug(bql, &top)
    });
}
