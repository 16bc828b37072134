//! Rule R5: A parent that is told of a drained section has none to write with.
//! QEMU: None recorded. A drained_begin callback may change the graph, and a comment forbids
//! it.
//! Shape: trait-object.
//! Why: The callback gets `&BqlGuard`, in the middle of a walk over the edges.

use block_gs::{BqlGuard, Drained, EdgeParent, Node, Parent, Perm};
use std::sync::Arc;
use ui_tests::{in_main_loop, null, overlay};

fn unplug(parent: &mut Drained<'_>) {
    parent.set_backing(None).expect("an edge");
}

struct Job(Node);

impl EdgeParent for Job {
    fn describe(&self) -> String {
        "job".into()
    }

    fn drained_begin(&self, bql: &BqlGuard) {
        unplug(bql);
        //~^ E0308 "types differ in mutability"
        assert_eq!(self.0.view(bql).children().count(), 0);
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let parent = Parent::new(bql, Arc::new(Job(top.clone())));
        parent.attach(bql, "edge", &base, Perm::empty(), Perm::all())?;
        base.drain(bql).end();
        bql.poll_until(|bql| top.view(bql).children().count() == 0);
        Ok(())
    });
}
