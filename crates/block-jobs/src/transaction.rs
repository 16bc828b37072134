//! Jobs that end together.

use std::fmt;
use std::sync::{Arc, Weak};

use block_gs::{BqlCell, BqlGuard};

use crate::Job;
use crate::job::Core;

/// Jobs that end together: all well, or none (`JobTxn`).
///
/// A job whose code has ended well waits for the others. When one fails, or
/// is cancelled, all are cancelled by force; what those did whose code has
/// ended is undone. Only handles: jobs do not need it once they have joined.
#[derive(Clone)]
pub struct JobTransaction(pub(crate) Arc<Group>);

impl fmt::Debug for JobTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobTransaction({:p})", Arc::as_ptr(&self.0))
    }
}

impl JobTransaction {
    /// One without jobs.
    pub fn new(bql: &BqlGuard) -> Self {
        JobTransaction(Arc::new(Group {
            state: BqlCell::new(bql, State::default()),
        }))
    }
}

/// The jobs of a transaction, or one job that has none.
pub(crate) struct Group {
    state: BqlCell<State>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Fate {
    #[default]
    Open,
    /// All were prepared: it is too late to cancel one.
    Committing,
    Aborting,
}

#[derive(Default)]
struct State {
    fate: Fate,
    /// Oldest first.
    jobs: Vec<Weak<Core>>,
}

impl Group {
    /// Those that are left, newest first.
    pub fn jobs(&self, bql: &BqlGuard) -> Vec<Job> {
        let jobs = &self.state.get(bql).jobs;
        let known = jobs.iter().rev().filter_map(Weak::upgrade);
        known.map(Job).collect()
    }

    pub fn add(&self, bql: &mut BqlGuard, job: &Job) {
        let weak = Arc::downgrade(&job.0);
        self.state.get_mut(bql).jobs.push(weak);
    }

    pub fn remove(&self, bql: &mut BqlGuard, job: &Job) {
        let jobs = &mut self.state.get_mut(bql).jobs;
        jobs.retain(|known| known.as_ptr() != Arc::as_ptr(&job.0));
    }

    pub fn is_committing(&self, bql: &BqlGuard) -> bool {
        self.state.get(bql).fate == Fate::Committing
    }

    /// From now on all end well. `false` if that was decided before, or
    /// otherwise.
    pub fn begin_commit(&self, bql: &mut BqlGuard) -> bool {
        self.decide(bql, Fate::Committing)
    }

    /// From now on all are undone. `false` as for
    /// [`begin_commit`](Group::begin_commit).
    pub fn begin_abort(&self, bql: &mut BqlGuard) -> bool {
        self.decide(bql, Fate::Aborting)
    }

    fn decide(&self, bql: &mut BqlGuard, fate: Fate) -> bool {
        let known = &mut self.state.get_mut(bql).fate;
        let open = *known == Fate::Open;
        if open {
            *known = fate;
        }
        open
    }
}
