//! How jobs end: alone, or with those of their transaction.
//!
//! All of it runs in the main loop. Drivers are called with the exclusive
//! guard and may poll, so anything may have happened to a job when they
//! return; nothing of the state of a job is borrowed across a call.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use block_gs::BqlGuard;

use crate::registry::Registry;
use crate::transaction::Group;
use crate::{Failure, Job, JobEvent, JobStatus};

/// Another state of a job, of which the world hears at once.
pub(crate) fn transition(bql: &mut BqlGuard, job: &Job, to: JobStatus) {
    let shared = job.shared();
    shared.engine.become_(to, |status| shared.note(status));
    shared.events.deliver(bql);
}

fn tell(bql: &mut BqlGuard, job: &Job, event: impl FnOnce(crate::BlockJobEvent) -> JobEvent) {
    let shared = job.shared();
    shared.note_block_job(event);
    shared.events.deliver(bql);
}

/// The code of a job has ended (`job_exit`).
pub(crate) fn exit(bql: &mut BqlGuard, job: &Job, outcome: Result<(), Failure>) {
    job.main(bql).failure = outcome.err();
    let shared = job.shared();
    // On purpose before the rest: what comes may drain the job's nodes.
    shared.engine.rests_for_good();
    shared.ending.store(false, Ordering::Release);
    completed(bql, job);
}

/// A job was created and cannot be started.
pub(crate) fn fail_start(bql: &mut BqlGuard, job: &Job, failure: Failure) {
    if job.status() == JobStatus::Created {
        job.main(bql).failure = Some(failure);
        completed(bql, job);
    }
}

fn completed(bql: &mut BqlGuard, job: &Job) {
    settle_outcome(bql, job);
    if job.main(bql).failure.is_some() {
        abort_group(bql, job);
    } else {
        wait_for_group(bql, job);
    }
}

/// A job that is cancelled has failed, and one that has failed is being
/// undone (`job_update_rc_locked`).
fn settle_outcome(bql: &mut BqlGuard, job: &Job) {
    let cancelled = job.is_cancelled();
    let failure = &mut job.main(bql).failure;
    if cancelled && failure.is_none() {
        *failure = Some(Failure::cancelled());
    }
    if failure.is_some() {
        transition(bql, job, JobStatus::Aborting);
    }
}

fn group_of(bql: &mut BqlGuard, job: &Job) -> Option<Arc<Group>> {
    job.main(bql).group.clone()
}

/// One has failed, so all do (`job_completed_txn_abort_locked`).
fn abort_group(bql: &mut BqlGuard, job: &Job) {
    let Some(group) = group_of(bql, job) else {
        return;
    };
    if !group.begin_abort(bql) {
        // Whoever decided that sees to everything.
        return;
    }
    for other in group.jobs(bql) {
        if other != *job {
            request_cancel(bql, &other, true);
        }
    }
    end_group(bql, group);
}

/// Ends the jobs of a transaction whose fate is decided, one after the other.
fn end_group(bql: &mut BqlGuard, group: Arc<Group>) {
    let rest = Rest {
        bql: &mut *bql,
        group,
    };
    while let Some(next) = rest.group.jobs(rest.bql).into_iter().next() {
        if !next.is_completed() {
            if next.main(rest.bql).started {
                next.kick();
                rest.bql.poll_until(|_| next.is_completed());
            } else {
                settle_outcome(rest.bql, &next);
            }
        }
        if !finalize_single(rest.bql, &next) {
            // Another call on the stack is at it, and goes on with the rest.
            break;
        }
    }
}

/// The jobs of a transaction that have not ended yet. When a driver panics
/// they end in a later turn of the main loop.
struct Rest<'b> {
    bql: &'b mut BqlGuard,
    group: Arc<Group>,
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let group = Arc::clone(&self.group);
            let main = self.bql.main_loop();
            main.schedule(move |bql| end_group(bql, group));
        }
    }
}

/// This one has ended well (`job_completed_txn_success_locked`).
fn wait_for_group(bql: &mut BqlGuard, job: &Job) {
    transition(bql, job, JobStatus::Waiting);
    let Some(group) = group_of(bql, job) else {
        return;
    };
    let jobs = group.jobs(bql);
    if jobs.iter().any(|other| !other.is_completed()) {
        return;
    }
    for job in &jobs {
        transition(bql, job, JobStatus::Pending);
        if !job.0.auto_finalize {
            tell(bql, job, |job| JobEvent::Pending {
                id: job.id,
                kind: job.kind,
            });
        }
    }
    if jobs.iter().all(|job| job.0.auto_finalize) {
        finalize(bql, job);
    }
}

/// Makes the outcome of all of a transaction last, or undoes it
/// (`job_do_finalize_locked`).
pub(crate) fn finalize(bql: &mut BqlGuard, job: &Job) {
    let Some(group) = group_of(bql, job) else {
        return;
    };
    for next in group.jobs(bql) {
        if prepare(bql, &next).is_err() {
            return abort_group(bql, job);
        }
    }
    if !group.begin_commit(bql) {
        // One was cancelled while another polled.
        return;
    }
    end_group(bql, group);
}

fn prepare(bql: &mut BqlGuard, job: &Job) -> Result<(), Failure> {
    if let Some(failure) = job.failure(bql) {
        return Err(failure.clone());
    }
    let outcome = job.0.driver.prepare(bql, job);
    if let Err(failure) = &outcome {
        job.main(bql).failure = Some(failure.clone());
        settle_outcome(bql, job);
    }
    outcome
}

/// The end of one job (`job_finalize_single_locked`). `false` when another
/// call on the stack is at it.
fn finalize_single(bql: &mut BqlGuard, job: &Job) -> bool {
    if !job.main(bql).begin_end() {
        return false;
    }
    // It may have failed late, with its transaction.
    settle_outcome(bql, job);
    let end = End { bql, job };
    let driver = &job.0.driver;
    if job.failure(end.bql).is_none() {
        driver.commit(end.bql, job);
    } else {
        driver.abort(end.bql, job);
    }
    driver.clean(end.bql, job);
    let outcome = job.outcome(end.bql);
    let on_end = job.main(end.bql).on_end.take();
    if let Some(on_end) = on_end {
        on_end(end.bql, outcome);
    }
    true
}

/// A job that is being told of its end. It ends also when its driver panics
/// then.
struct End<'b> {
    bql: &'b mut BqlGuard,
    job: &'b Job,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        conclude(self.bql, self.job);
    }
}

fn conclude(bql: &mut BqlGuard, job: &Job) {
    let started = job.main(bql).started;
    if started {
        let error = job.failure(bql).map(|failure| failure.to_string());
        if job.is_cancelled() {
            tell(bql, job, JobEvent::Cancelled);
        } else {
            tell(bql, job, |job| JobEvent::Completed { job, error });
        }
    }
    leave_group(bql, job);
    transition(bql, job, JobStatus::Concluded);
    if job.0.auto_dismiss || !started {
        dismiss(bql, job);
    }
}

fn leave_group(bql: &mut BqlGuard, job: &Job) {
    if let Some(group) = job.main(bql).group.take() {
        group.remove(bql, job);
    }
}

/// The end of all (`job_do_dismiss_locked`).
pub(crate) fn dismiss(bql: &mut BqlGuard, job: &Job) {
    leave_group(bql, job);
    transition(bql, job, JobStatus::Null);
    bql.extension_mut::<Registry>().remove(job);
    job.0.driver.free(bql, job);
    job.remove_all_nodes(bql);
    let holder = job.main(bql).holder.take();
    drop(holder);
}

/// Notes that a job is to end early (`job_cancel_async_locked`).
fn request_cancel(bql: &mut BqlGuard, job: &Job, force: bool) {
    // One that was not started has nothing that it could end well.
    let force = force || !job.main(bql).started;
    let force = job.0.driver.cancel(bql, job, force) || force;
    job.lift_user_pause(bql);
    job.shared().engine.cancel(force);
}

/// Cancels a job in whatever state (`job_cancel_locked`).
pub(crate) fn cancel(bql: &mut BqlGuard, job: &Job, force: bool) {
    let group = group_of(bql, job);
    match job.status() {
        JobStatus::Null => return,
        _ if group.is_some_and(|group| group.is_committing(bql)) => return,
        JobStatus::Concluded => return dismiss(bql, job),
        _ => request_cancel(bql, job, force),
    }
    if !job.main(bql).started {
        if job.status() == JobStatus::Created {
            completed(bql, job);
        }
    } else if !job.shared().engine.has_returned() {
        job.kick();
    } else if job.is_cancelled() {
        abort_group(bql, job);
    }
}
