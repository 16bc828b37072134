//! Twin of bad.rs: the callback says that it is not done, and the drain polls.

use block_gs::{BqlGuard, EdgeParent, Parent, Perm};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use ui_tests::{in_main_loop, null};

#[derive(Default)]
struct Job {
    polls: AtomicU32,
}

impl EdgeParent for Job {
    fn describe(&self) -> String {
        "job".into()
    }

    fn drained_poll(&self, bql: &BqlGuard) -> bool {
        bql.main_loop().kick();
        self.polls.fetch_add(1, Ordering::Relaxed) < 2
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, job) = (null(bql, "node"), Arc::new(Job::default()));
        let parent = Parent::new(bql, job.clone());
        parent.attach(bql, "edge", &node, Perm::empty(), Perm::all())?;
        node.drain(bql).end();
        assert!(job.polls.load(Ordering::Relaxed) > 2);
        Ok(())
    });
}
