//! From creation to the end, and what the world hears of it.

mod common;

use std::sync::{Arc, Mutex};

use block_common::error::errno;
use block_gs::BqlGuard;
use block_jobs::{
    Failure, Job, JobBuilder, JobContext, JobDriver, JobError, JobRun, JobStatus, JobTransaction,
    JobType, cancel_all, find, jobs,
};
use common::{Heard, Plan, create, create_over, in_layer, node, start_over, until};

fn named(id: &str) -> JobBuilder {
    JobBuilder::new().id(id)
}

const ENDS: Plan = Plan {
    ready: false,
    ends_with: Some(0),
    start: 0,
    prepare: 0,
    soft: false,
};

#[test]
fn a_job_goes_its_way_by_itself() {
    in_layer(|bql| {
        let heard = Heard::new(bql);
        let disk = node(bql, "disk");
        let ends = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&ends);
        let builder = named("j").on_end(move |_, end| list.lock().expect("no panic").push(end));
        let (created, watch) = create_over(bql, builder, &disk, ENDS).expect("created");
        let job = created.job().clone();
        assert_eq!(job.status(), JobStatus::Created);
        assert_eq!((job.pause_count(), job.is_busy()), (1, false));
        created.start(bql).expect("started");
        assert_eq!(job.status(), JobStatus::Running);
        until(bql, || job.status() == JobStatus::Null);
        let order = [
            "j created",
            "j running",
            "j waiting",
            "j pending",
            "j COMPLETED",
            "j concluded",
            "j null",
        ];
        assert_eq!(heard.take(), order);
        let calls = ["start", "prepare", "commit", "clean", "free"];
        assert_eq!(watch.calls(), calls);
        assert_eq!(*ends.lock().expect("no panic"), [Ok(())]);
        assert_eq!(jobs(bql).count(), 0);
        assert_eq!(disk.view(bql).parents().count(), 0);
    });
}

#[test]
fn each_step_waits_to_be_asked_for() {
    in_layer(|bql| {
        let heard = Heard::new(bql);
        let disk = node(bql, "disk");
        let builder = named("j").manual_finalize().manual_dismiss();
        let plan = Plan {
            ready: true,
            ..Plan::default()
        };
        let (job, _) = start_over(bql, builder, &disk, plan);
        until(bql, || job.is_ready());
        job.complete(bql).expect("it is ready");
        until(bql, || job.status() == JobStatus::Pending);
        job.finalize(bql).expect("it is pending");
        assert_eq!(job.status(), JobStatus::Concluded);
        assert_eq!(disk.view(bql).parents().count(), 1, "until it is dismissed");
        job.dismiss(bql).expect("it is over");
        assert_eq!(disk.view(bql).parents().count(), 0);
        let order = [
            "j created",
            "j running",
            "j ready",
            "j READY",
            "j waiting",
            "j pending",
            "j PENDING",
            "j COMPLETED",
            "j concluded",
            "j null",
        ];
        assert_eq!(heard.take(), order);
    });
}

#[test]
fn a_job_that_is_cancelled_is_undone() {
    in_layer(|bql| {
        let heard = Heard::new(bql);
        let disk = node(bql, "disk");
        let (job, watch) = start_over(bql, named("j"), &disk, Plan::default());
        until(bql, || watch.rounds() > 0);
        heard.take();
        job.cancel(bql, true).expect("it runs");
        until(bql, || job.status() == JobStatus::Null);
        let order = ["j aborting", "j CANCELLED", "j concluded", "j null"];
        assert_eq!(heard.take(), order);
        assert_eq!(watch.calls(), ["start", "cancel", "abort", "clean", "free"]);
    });
}

#[test]
fn a_soft_cancel_ends_a_ready_job_well() {
    in_layer(|bql| {
        let heard = Heard::new(bql);
        let disk = node(bql, "disk");
        let plan = Plan {
            ready: true,
            soft: true,
            ..Plan::default()
        };
        let (job, _) = start_over(bql, named("j").manual_dismiss(), &disk, plan);
        until(bql, || job.is_ready());
        job.cancel(bql, false).expect("it runs");
        until(bql, || job.status() == JobStatus::Concluded);
        assert!(heard.take().contains(&"j COMPLETED".to_owned()));
        assert_eq!(job.failure(bql), None);
        // One that knows no better is cancelled by force.
        let plan = Plan {
            soft: false,
            ..plan
        };
        let (job, _) = start_over(bql, named("k").manual_dismiss(), &disk, plan);
        until(bql, || job.is_ready());
        job.cancel(bql, false).expect("it runs");
        until(bql, || job.status() == JobStatus::Concluded);
        assert!(heard.take().contains(&"k CANCELLED".to_owned()));
        assert_eq!(job.failure(bql), Some(&Failure::cancelled()));
    });
}

#[test]
fn a_failure_is_told() {
    in_layer(|bql| {
        let heard = Heard::new(bql);
        let disk = node(bql, "disk");
        let plan = Plan {
            ends_with: Some(errno::EIO),
            ..Plan::default()
        };
        let (job, watch) = start_over(bql, named("j").manual_dismiss(), &disk, plan);
        let failure = job.wait(bql).expect_err("it fails");
        assert_eq!(failure.errno(), errno::EIO);
        let order = [
            "j created",
            "j running",
            "j aborting",
            "j COMPLETED Input/output error",
            "j concluded",
        ];
        assert_eq!(heard.take(), order);
        assert_eq!(watch.calls(), ["start", "abort", "clean"]);
        let info = job.info(bql).expect("visible");
        assert_eq!(info.error.as_deref(), Some("Input/output error"));
        assert_eq!(info.status, JobStatus::Concluded);

        let plan = Plan {
            prepare: errno::ENOSPC,
            ..ENDS
        };
        let (job, watch) = start_over(bql, named("k").manual_dismiss(), &disk, plan);
        until(bql, || job.status() == JobStatus::Concluded);
        let order = [
            "k created",
            "k running",
            "k waiting",
            "k pending",
            "k aborting",
            "k COMPLETED No space left on device",
            "k concluded",
        ];
        assert_eq!(heard.take(), order);
        assert_eq!(watch.calls(), ["start", "prepare", "abort", "clean"]);
    });
}

#[test]
fn without_its_preparation_nothing_runs() {
    in_layer(|bql| {
        let heard = Heard::new(bql);
        let disk = node(bql, "disk");
        let plan = Plan {
            start: errno::EPERM,
            ..ENDS
        };
        let (created, watch) = create_over(bql, named("j"), &disk, plan).expect("created");
        let refused = created.start(bql).expect_err("the driver refuses");
        assert_eq!(refused.errno(), errno::EPERM);
        assert_eq!(watch.calls(), ["start", "abort", "clean", "free"]);
        // No event but those of the states: it was never started.
        let order = ["j created", "j aborting", "j concluded", "j null"];
        assert_eq!(heard.take(), order);
        assert_eq!(watch.rounds(), 0);
        assert_eq!(jobs(bql).count(), 0);
    });
}

#[test]
fn a_job_that_is_not_started_goes() {
    in_layer(|bql| {
        let disk = node(bql, "disk");
        let (created, watch) = create_over(bql, named("j"), &disk, ENDS).expect("created");
        drop(created);
        until(bql, || jobs_gone(&watch));
        assert_eq!(watch.calls(), ["free"]);
        let (created, watch) = create_over(bql, named("j"), &disk, ENDS).expect("the id is free");
        created.discard(bql);
        assert_eq!(watch.calls(), ["free"]);
        assert!(matches!(find(bql, "j"), Err(JobError::NotFound)));

        // Cancelled before it is started.
        let (created, watch) = create_over(bql, named("j"), &disk, ENDS).expect("created");
        let job = created.job().clone();
        job.cancel(bql, true).expect("it is there");
        assert_eq!(job.status(), JobStatus::Null);
        let late = created.start(bql).expect_err("gone");
        assert_eq!(late.to_string(), "Job 'j' cannot be started any more");
        assert_eq!(watch.calls(), ["cancel", "abort", "clean", "free"]);
    });
}

fn jobs_gone(watch: &common::Watch) -> bool {
    watch.calls().contains(&"free")
}

#[test]
fn ids_are_qemus() {
    in_layer(|bql| {
        let disk = node(bql, "disk");
        let try_id = |bql: &mut _, builder: JobBuilder| {
            let made = create_over(bql, builder, &disk, ENDS);
            made.map(|(created, _)| created)
                .map_err(|error| error.to_string())
        };
        let none = try_id(bql, JobBuilder::new());
        assert_eq!(none.expect_err("no device"), "Invalid job ID ''");
        for bad in ["0id", "", "   ", "123", "_id", "-id", ".id", "#id"] {
            let refused = try_id(bql, named(bad)).expect_err("malformed");
            assert_eq!(refused, format!("Invalid job ID '{bad}'"));
        }
        let first = try_id(bql, named("id0")).expect("well-formed");
        let second = try_id(bql, named("id1")).expect("two jobs on a node");
        let again = try_id(bql, named("id0")).expect_err("taken");
        assert_eq!(again, "Job ID 'id0' already in use");
        first.discard(bql);
        let first = try_id(bql, named("id0")).expect("free again");
        let internal = try_id(bql, named("id2").internal()).expect_err("no id");
        assert_eq!(internal, "Cannot specify job ID for internal job");
        let hidden = try_id(bql, JobBuilder::new().internal()).expect("no id needed");
        assert_eq!(hidden.job().id(), None);
        assert_eq!(
            hidden.job().info(bql).expect_err("hidden").to_string(),
            "Cannot query QEMU internal jobs"
        );
        let (watch, driver) = Default::default();
        let plain = common::TestDriver {
            plan: driver,
            watch,
        };
        let refused = JobBuilder::new().create(bql, plain);
        assert_eq!(
            refused.expect_err("no node").to_string(),
            "An explicit job ID is required"
        );
        let ids: Vec<_> = jobs(bql).map(|job| job.name().to_owned()).collect();
        assert_eq!(ids, ["", "id0", "id1"], "newest first");
        for created in [first, second, hidden] {
            created.discard(bql);
        }
    });
}

#[test]
fn internal_jobs_are_not_heard_of() {
    in_layer(|bql| {
        let heard = Heard::new(bql);
        let disk = node(bql, "disk");
        let (job, _) = start_over(bql, JobBuilder::new().internal(), &disk, ENDS);
        until(bql, || job.status() == JobStatus::Null);
        assert_eq!(heard.take(), Vec::<String>::new());
    });
}

fn pair(bql: &mut block_gs::BqlGuard, plans: [Plan; 2]) -> [Job; 2] {
    let disk = node(bql, "disk");
    let together = JobTransaction::new(bql);
    let mut id = ["k1", "k2"].into_iter();
    let created = plans.map(|plan| {
        let builder = named(id.next().expect("two"))
            .manual_dismiss()
            .transaction(&together);
        create_over(bql, builder, &disk, plan).expect("created").0
    });
    created.map(|created| created.start(bql).expect("started"))
}

#[test]
fn one_that_is_cancelled_takes_its_transaction_along() {
    in_layer(|bql| {
        let heard = Heard::new(bql);
        let [k1, k2] = pair(bql, [Plan::default(); 2]);
        heard.take();
        k1.cancel(bql, true).expect("it runs");
        until(bql, || {
            [&k1, &k2]
                .iter()
                .all(|job| job.status() == JobStatus::Concluded)
        });
        let order = [
            "k1 aborting",
            "k2 aborting",
            "k2 CANCELLED",
            "k2 concluded",
            "k1 CANCELLED",
            "k1 concluded",
        ];
        assert_eq!(heard.take(), order);
    });
}

#[test]
fn one_that_has_ended_well_waits_for_the_other() {
    in_layer(|bql| {
        let [k1, k2] = pair(bql, [ENDS, Plan::default()]);
        until(bql, || k1.status() == JobStatus::Waiting);
        assert_eq!(k2.status(), JobStatus::Running);
        let outcome = k2.cancel_sync(bql, true);
        assert_eq!(outcome, Err(Failure::cancelled()));
        until(bql, || k1.status() == JobStatus::Concluded);
        assert_eq!(k1.failure(bql), Some(&Failure::cancelled()));
    });
}

#[test]
fn one_that_is_not_started_is_cancelled_with_the_others() {
    in_layer(|bql| {
        let disk = node(bql, "disk");
        let together = JobTransaction::new(bql);
        let builder = |id: &str| named(id).transaction(&together);
        let fails = Plan {
            ends_with: Some(errno::EIO),
            ..Plan::default()
        };
        let (first, _) = create_over(bql, builder("k1"), &disk, fails).expect("created");
        let (second, _) = create_over(bql, builder("k2"), &disk, ENDS).expect("created");
        let k1 = first.start(bql).expect("started");
        until(bql, || k1.status() == JobStatus::Null);
        assert_eq!(second.job().status(), JobStatus::Null);
        assert!(matches!(second.start(bql), Err(JobError::NotStartable(_))));
    });
}

#[test]
fn a_driver_may_ask_for_its_own_job_in_a_callback() {
    in_layer(|bql| {
        let (created, _) = create(bql, named("j").manual_dismiss(), ENDS);
        let job = created.start(bql).expect("started");
        assert!(!job.is_block_job());
        job.wait(bql).expect("well");
        until(bql, || job.status() == JobStatus::Concluded);
        let disk = node(bql, "disk");
        let all = block_gs::Perm::all();
        let refused = job.add_node(bql, "n", &disk, block_gs::Perm::empty(), all);
        assert!(matches!(refused, Err(JobError::HoldsNoNodes(_))));
    });
}

#[test]
fn all_are_cancelled_in_the_end() {
    in_layer(|bql| {
        let disk = node(bql, "disk");
        let manual = |id: &str| named(id).manual_dismiss().manual_finalize();
        let (running, _) = start_over(bql, manual("a"), &disk, Plan::default());
        let (pending, watch) = start_over(bql, manual("b"), &disk, ENDS);
        until(bql, || pending.status() == JobStatus::Pending);
        let (created, _) = create_over(bql, manual("c"), &disk, ENDS).expect("created");
        let (paused, _) = start_over(bql, manual("d"), &disk, Plan::default());
        paused.user_pause(bql).expect("it runs");
        cancel_all(bql);
        assert_eq!(jobs(bql).count(), 0);
        for job in [&running, &pending, created.job(), &paused] {
            assert_eq!(job.status(), JobStatus::Null);
        }
        assert_eq!(watch.calls(), ["start", "cancel", "abort", "clean", "free"]);
    });
}

#[test]
fn a_layer_may_go_with_its_jobs() {
    let job = in_layer(|bql| {
        let disk = node(bql, "disk");
        start_over(bql, named("j"), &disk, Plan::default()).0
    });
    assert!(job.is_cancelled());
}

/// Has something cancel the job while a callback of its driver polls.
struct Nested {
    in_commit: bool,
    calls: Arc<Mutex<Vec<&'static str>>>,
}

struct Ends;

impl Nested {
    fn cancel_meanwhile(&self, bql: &mut BqlGuard, job: &Job) {
        let main = bql.main_loop();
        let job = job.clone();
        let asked = bql.block_on(main.call(move |bql| job.cancel(bql, true).is_ok()));
        assert_eq!(asked, Ok(true));
    }
}

impl JobDriver for Nested {
    type Run = Ends;

    fn kind(&self) -> JobType {
        JobType::Backup
    }

    fn start(&self, _bql: &mut BqlGuard, _job: &Job) -> Result<Ends, Failure> {
        Ok(Ends)
    }

    fn prepare(&self, bql: &mut BqlGuard, job: &Job) -> Result<(), Failure> {
        if !self.in_commit {
            self.cancel_meanwhile(bql, job);
        }
        Ok(())
    }

    fn commit(&self, bql: &mut BqlGuard, job: &Job) {
        self.cancel_meanwhile(bql, job);
        self.calls.lock().expect("no panic").push("commit");
    }

    fn abort(&self, _bql: &mut BqlGuard, _job: &Job) {
        self.calls.lock().expect("no panic").push("abort");
    }
}

impl JobRun for Ends {
    async fn run(self, _job: &mut JobContext<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn a_transaction_is_cancelled_as_a_whole_or_not_at_all() {
    for in_commit in [false, true] {
        in_layer(|bql| {
            let together = JobTransaction::new(bql);
            let calls = Arc::new(Mutex::new(Vec::new()));
            let created = ["a", "b"].map(|id| {
                let calls = Arc::clone(&calls);
                let builder = named(id).manual_dismiss().transaction(&together);
                let driver = Nested { in_commit, calls };
                builder.create(bql, driver).expect("created")
            });
            let jobs = created.map(|created| created.start(bql).expect("started"));
            until(bql, || {
                jobs.iter().all(|job| job.status() == JobStatus::Concluded)
            });
            let expected = if in_commit { "commit" } else { "abort" };
            assert_eq!(*calls.lock().expect("no panic"), [expected; 2]);
            for job in &jobs {
                assert_eq!(job.failure(bql).is_none(), in_commit);
            }
        });
    }
}
