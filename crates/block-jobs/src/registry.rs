//! The jobs of a block layer.

use std::sync::Arc;

use block_gs::BqlGuard;

use crate::event::{Events, WeakListener};
use crate::{Job, JobError, JobStatus, completion};

/// All jobs, and who hears of them.
#[derive(Default)]
pub(crate) struct Registry {
    /// Oldest first.
    jobs: Vec<Job>,
    pub listeners: Vec<WeakListener>,
    events: Option<Arc<Events>>,
}

impl Registry {
    pub fn insert(&mut self, job: Job) {
        self.jobs.push(job);
    }

    pub fn remove(&mut self, job: &Job) {
        self.jobs.retain(|known| known != job);
    }
}

impl Drop for Registry {
    /// The block layer goes. Jobs that nobody has waited for end as soon as
    /// they can; there is nobody left who could undo what they did.
    fn drop(&mut self) {
        for job in &self.jobs {
            let engine = &job.shared().engine;
            engine.cancel(true);
            engine.kick();
        }
    }
}

/// The queue of events of this block layer.
pub(crate) fn events(bql: &mut BqlGuard) -> Arc<Events> {
    let main = bql.main_loop();
    let registry = bql.extension_mut::<Registry>();
    let events = registry
        .events
        .get_or_insert_with(|| Arc::new(Events::new(main)));
    Arc::clone(events)
}

/// All jobs, internal ones too, newest first (`job_next`). The iterator
/// borrows the guard; the jobs are handles, and can be kept.
pub fn jobs<'b>(bql: &'b BqlGuard) -> impl Iterator<Item = Job> + use<'b> {
    let registry = bql.extension::<Registry>();
    registry
        .into_iter()
        .flat_map(|registry| registry.jobs.iter().rev().cloned())
}

/// All block jobs, internal ones too, newest first (`block_job_next`).
pub fn block_jobs<'b>(bql: &'b BqlGuard) -> impl Iterator<Item = Job> + use<'b> {
    jobs(bql).filter(Job::is_block_job)
}

/// The job called `id` (`job_get`).
///
/// # Errors
/// [`JobError::NotFound`].
pub fn find(bql: &BqlGuard, id: &str) -> Result<Job, JobError> {
    jobs(bql)
        .find(|job| job.id() == Some(id))
        .ok_or(JobError::NotFound)
}

/// The block job called `id` (`block_job_get`).
///
/// # Errors
/// [`JobError::BlockJobNotFound`].
pub fn find_block_job(bql: &BqlGuard, id: &str) -> Result<Job, JobError> {
    block_jobs(bql)
        .find(|job| job.id() == Some(id))
        .ok_or_else(|| JobError::BlockJobNotFound(id.to_owned()))
}

/// Cancels all jobs by force and waits for the end of each
/// (`job_cancel_sync_all`). Before a block layer is dropped: what jobs have
/// begun is undone then.
pub fn cancel_all(bql: &mut BqlGuard) {
    // Once each: one that is left is being ended by a call further down the
    // stack.
    let mut seen = Vec::new();
    loop {
        let next = jobs(bql).find(|job| !seen.contains(job));
        let Some(job) = next else { return };
        // That it was cancelled is what it fails with.
        let _ = job.cancel_sync(bql, true);
        if job.status() == JobStatus::Concluded {
            completion::dismiss(bql, &job);
        }
        seen.push(job);
    }
}
