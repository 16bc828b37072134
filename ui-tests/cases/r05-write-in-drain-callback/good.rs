//! Twin of bad.rs: the callback asks for a section of its own, later.

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
        let top = self.0.clone();
        bql.main_loop()
            .schedule(move |bql| unplug(&mut top.drain(bql)));
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
