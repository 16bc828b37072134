//! Rule R7: A callback that runs during a walk over the graph cannot poll.
//! QEMU: V081, BdrvChildClass.drained_begin -> aio_poll(); a comment forbids it.
//! Shape: trait-object.
//! Why: The callback gets `&BqlGuard`; polling takes `&mut BqlGuard`.

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

    fn drained_begin(&self, bql: &BqlGuard) {
        bql.poll_until(|_| self.polls.fetch_add(1, Ordering::Relaxed) == 2);
        //~^ E0596 "cannot borrow `*bql` as mutable, as it is behind a `&` reference"
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
