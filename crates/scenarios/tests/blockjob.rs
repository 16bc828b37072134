//! States of a job: the scenarios of `test-blockjob.c`.

use block_gs::{BqlGuard, Node};
use block_jobs::{CreatedJob, JobBuilder, JobError, JobStatus, find};
use scenarios::{Ends, Failing, Job, Manner, SIZE, backend, in_layer, node};

fn create(
    bql: &mut BqlGuard,
    builder: JobBuilder,
    node: &Node,
    ends: Ends,
) -> Result<(CreatedJob, Job), JobError> {
    Job::create(bql, builder, &[node], ends, Failing::Nothing, |_| {})
}

/// `/blockjob/ids`
#[test]
fn ids() {
    in_layer(|bql| {
        let (plain, _) = node(bql, "plain", Manner::of(SIZE));
        let (one, _) = node(bql, "one", Manner::of(SIZE));
        let (two, _) = node(bql, "two", Manner::of(SIZE));
        let fronts = [backend(bql, "drive1", &one), backend(bql, "drive2", &two)];
        let ends = Ends::WhenCompleted;
        let make = |bql: &mut BqlGuard, node: &Node, id: Option<&str>| {
            let builder = JobBuilder::new();
            let builder = match id {
                Some(id) => builder.id(id),
                None => builder,
            };
            create(bql, builder, node, ends).map(|(created, _)| created)
        };
        let refused = |bql: &mut BqlGuard, node: &Node, id: Option<&str>| {
            let refused = make(bql, node, id);
            assert!(refused.is_err(), "{id:?}: {refused:?}");
        };
        refused(bql, &plain, None);
        for bad in ["0id", "", "   ", "123", "_id", "-id", ".id", "#id"] {
            refused(bql, &plain, Some(bad));
        }
        let first = make(bql, &plain, Some("id0")).expect("a good id");
        let second = make(bql, &plain, Some("id1")).expect("two jobs on a node");
        refused(bql, &one, Some("id0"));
        first.discard(bql);
        let first = make(bql, &one, Some("id0")).expect("free again");
        let third = make(bql, &two, None).expect("as the device");
        assert_eq!(third.job().id(), Some("drive2"));
        let fourth = make(bql, &plain, Some("drive1")).expect("nobody has it");
        refused(bql, &one, None);
        for created in [first, second, third, fourth] {
            created.discard(bql);
        }
        drop(fronts);
    });
}

/// A job that is cancelled has to be finalized and dismissed by hand, and
/// becomes ready in its own time.
fn cancelled(test: impl FnOnce(&mut BqlGuard, CreatedJob, &Job)) {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Manner::of(SIZE));
        let builder = JobBuilder::new()
            .id("job0")
            .manual_finalize()
            .manual_dismiss();
        let made = create(bql, builder, &disk, Ends::ReadyAfter(2));
        let (created, job) = made.expect("created");
        test(bql, created, &job);
        assert_eq!(job.status(), JobStatus::Null);
        assert!(matches!(find(bql, "job0"), Err(JobError::NotFound)));
    });
}

/// Cancels a job in whatever state, and dismisses what is left.
fn cancel(bql: &mut BqlGuard, job: &Job) {
    let before = job.status();
    let _ = job.job().cancel_sync(bql, true);
    let is_over = matches!(before, JobStatus::Created | JobStatus::Concluded);
    if !is_over {
        job.wait_for(bql, JobStatus::Concluded);
        job.job().dismiss(bql).expect("it is over");
    }
}

/// `/blockjob/cancel/created`
#[test]
fn cancel_created() {
    cancelled(|bql, _created, job| {
        assert_eq!(job.status(), JobStatus::Created);
        cancel(bql, job);
    });
}

/// `/blockjob/cancel/paused`
#[test]
fn cancel_paused() {
    cancelled(|bql, created, job| {
        created.start(bql).expect("started");
        assert_eq!(job.status(), JobStatus::Running);
        job.job().user_pause(bql).expect("it runs");
        job.wait_for(bql, JobStatus::Paused);
        cancel(bql, job);
    });
}

/// `/blockjob/cancel/ready`
#[test]
fn cancel_ready() {
    cancelled(|bql, created, job| {
        created.start(bql).expect("started");
        job.wait_for(bql, JobStatus::Ready);
        cancel(bql, job);
    });
}

/// `/blockjob/cancel/pending`
#[test]
fn cancel_pending() {
    cancelled(|bql, created, job| {
        created.start(bql).expect("started");
        job.wait_for(bql, JobStatus::Ready);
        job.tell_to_complete(bql);
        assert_eq!(job.status(), JobStatus::Ready, "the main loop has not run");
        job.wait_for(bql, JobStatus::Pending);
        cancel(bql, job);
    });
}

/// `/blockjob/cancel/concluded`
#[test]
fn cancel_concluded() {
    cancelled(|bql, created, job| {
        created.start(bql).expect("started");
        job.wait_for(bql, JobStatus::Ready);
        job.tell_to_complete(bql);
        job.wait_for(bql, JobStatus::Pending);
        job.job().finalize(bql).expect("it is pending");
        assert_eq!(job.status(), JobStatus::Concluded);
        cancel(bql, job);
    });
}
