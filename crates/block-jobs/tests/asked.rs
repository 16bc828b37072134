//! What a driver is told of its job, what its code sees, and what handles keep.

mod common;

use std::sync::{Arc, Mutex};

use block_common::IoError;
use block_common::error::errno;
use block_gs::{BqlGuard, Perm};
use block_jobs::{
    BlockJobInfo, CopyMode, Failure, IoStatus, Job, JobBuilder, JobChange, JobContext, JobDriver,
    JobError, JobRun, JobStatus, JobTransaction, JobType, OnError, Operation, Progress,
};
use common::{in_layer, node, until};

/// Notes what it is told, and runs this code.
struct Told<R> {
    run: Mutex<Option<R>>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl<R> Told<R> {
    fn new(run: R) -> (Self, Arc<Mutex<Vec<String>>>) {
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = Told {
            run: Mutex::new(Some(run)),
            heard: Arc::clone(&heard),
        };
        (told, heard)
    }

    fn hear(&self, words: String) {
        self.heard.lock().expect("no panic").push(words);
    }
}

impl<R: JobRun> JobDriver for Told<R> {
    type Run = R;

    fn kind(&self) -> JobType {
        JobType::Mirror
    }

    fn start(&self, _bql: &mut BqlGuard, _job: &Job) -> Result<R, Failure> {
        let run = self.run.lock().expect("no panic").take();
        Ok(run.expect("started once"))
    }

    fn set_speed(&self, _bql: &mut BqlGuard, job: &Job, speed: i64) {
        assert_eq!(job.speed(), speed, "it is set when the driver hears of it");
        self.hear(format!("speed {speed}"));
    }

    fn change(&self, _bql: &mut BqlGuard, _job: &Job, change: JobChange) -> Result<(), JobError> {
        match change {
            JobChange::CopyMode(CopyMode::WriteBlocking) => {
                self.hear("write-blocking".to_owned());
                Ok(())
            }
            _ => Err(JobError::ChangeNotSupported),
        }
    }

    fn query(&self, _bql: &BqlGuard, info: &mut BlockJobInfo) {
        info.actively_synced = Some(true);
    }
}

/// Goes on until somebody cancels it.
struct Rests;

impl JobRun for Rests {
    async fn run(self, job: &mut JobContext<'_>) -> Result<(), Failure> {
        while !job.is_cancel_requested() {
            job.rest().await;
        }
        Ok(())
    }
}

fn named(id: &str) -> JobBuilder {
    JobBuilder::new().id(id)
}

#[test]
fn a_driver_hears_of_speeds_and_changes_and_adds_to_what_is_told() {
    in_layer(|bql| {
        let disk = node(bql, "disk");
        let (driver, heard) = Told::new(Rests);
        let builder = named("j").speed(7);
        let created = builder.create_block_job(bql, &disk, Perm::empty(), Perm::all(), driver);
        let job = created.expect("created").start(bql).expect("started");
        job.set_speed(bql, 4096).expect("a speed");
        let change = |mode| JobChange::CopyMode(mode);
        job.change(bql, change(CopyMode::WriteBlocking))
            .expect("it knows how");
        let refused = job.change(bql, change(CopyMode::Background));
        assert!(matches!(refused, Err(JobError::ChangeNotSupported)));
        assert_eq!(
            *heard.lock().expect("no panic"),
            ["speed 7", "speed 4096", "write-blocking"]
        );
        let info = job.block_job_info(bql).expect("visible");
        assert_eq!(info.actively_synced, Some(true));
        assert_eq!((info.kind, info.speed), (JobType::Mirror, 4096));
        assert_eq!(job.kind(), JobType::Mirror);
        assert!(!job.is_internal());
        let (other, _) = Told::new(Rests);
        let plain = named("k").create(bql, other).expect("created");
        let over_nodes: Vec<Job> = block_jobs::block_jobs(bql).collect();
        assert!(
            over_nodes == std::slice::from_ref(&job),
            "the other has no nodes"
        );
        plain.discard(bql);
        job.cancel_sync(bql, true).expect_err("cancelled");
    });
}

#[test]
fn types_of_jobs_have_their_known_names() {
    let names = [
        JobType::Commit,
        JobType::Stream,
        JobType::Mirror,
        JobType::Backup,
        JobType::Create,
        JobType::Amend,
        JobType::SnapshotLoad,
        JobType::SnapshotSave,
        JobType::SnapshotDelete,
    ]
    .map(|job_type| job_type.to_string());
    let known = [
        "commit",
        "stream",
        "mirror",
        "backup",
        "create",
        "amend",
        "snapshot-load",
        "snapshot-save",
        "snapshot-delete",
    ];
    assert_eq!(names, known);
}

#[test]
fn an_internal_job_is_not_shown_and_has_its_type_all_the_same() {
    in_layer(|bql| {
        let (driver, _) = Told::new(Rests);
        let created = JobBuilder::new().internal().create(bql, driver);
        let created = created.expect("created");
        let job = created.job().clone();
        assert!(job.is_internal() && job.id().is_none());
        assert_eq!(job.kind(), JobType::Mirror);
        let hidden = job.info(bql).expect_err("nobody is to see it");
        assert!(matches!(hidden, JobError::QueryOfInternalJob));
        created.discard(bql);
        assert_eq!(job.status(), JobStatus::Null);
    });
}

/// Counts as it goes, and rests between the steps.
struct Counts;

impl JobRun for Counts {
    async fn run(self, job: &mut JobContext<'_>) -> Result<(), Failure> {
        job.progress_set_remaining(10);
        job.progress_add_remaining(5);
        job.progress_done(3);
        assert!(!job.is_cancelled() && !job.is_cancel_requested());
        job.rest().await;
        job.progress_done(4);
        // There is more to do than was known, and less than was feared.
        job.progress_add_remaining(u64::MAX);
        job.progress_set_remaining(1);
        job.rest().await;
        assert!(job.is_cancelled(), "nobody else wakes it");
        job.check_cancelled()
    }
}

#[test]
fn the_code_says_how_far_it_is_and_rests_until_somebody_wants_something() {
    in_layer(|bql| {
        let (driver, _) = Told::new(Counts);
        let created = named("j").manual_dismiss().create(bql, driver);
        let job = created.expect("created").start(bql).expect("started");
        let is = |current, total| Progress { current, total };
        until(bql, || !job.is_busy());
        assert_eq!(job.progress(), is(3, 15));
        job.kick();
        until(bql, || job.progress() == is(7, 8) && !job.is_busy());
        assert_eq!(job.cancel_sync(bql, true), Err(Failure::cancelled()));
        assert_eq!(job.progress(), is(7, 8));
    });
}

#[test]
fn a_job_holds_its_nodes_until_it_lets_all_of_them_go() {
    in_layer(|bql| {
        let disk = node(bql, "disk");
        let target = node(bql, "target");
        let (driver, _) = Told::new(Rests);
        let created = named("j").create_block_job(bql, &disk, Perm::empty(), Perm::all(), driver);
        let created = created.expect("created");
        let job = created.job().clone();
        assert!(job.has_node(bql, &disk) && !job.has_node(bql, &target));
        job.add_node(bql, "target", &target, Perm::WRITE, Perm::empty())
            .expect("nobody else wants it");
        assert!(job.has_node(bql, &target));
        assert_eq!(target.view(bql).cumulative_perm(), Perm::WRITE);
        job.remove_all_nodes(bql);
        assert!(!job.has_node(bql, &disk) && !job.has_node(bql, &target));
        assert!(job.nodes(bql).is_empty());
        assert_eq!(target.view(bql).cumulative_perm(), Perm::empty());
        assert_eq!(disk.view(bql).parents().count(), 0);
        created.discard(bql);
    });
}

/// Fails once as if the disk were full, then rests.
struct Fills;

impl JobRun for Fills {
    async fn run(self, job: &mut JobContext<'_>) -> Result<(), Failure> {
        let full = IoError::from_errno(errno::ENOSPC);
        job.error_action(OnError::Enospc, Operation::Write, &full);
        job.pause_point().await;
        Ok(())
    }
}

#[test]
fn a_failed_request_is_forgotten_when_somebody_says_so() {
    in_layer(|bql| {
        let disk = node(bql, "disk");
        let (driver, _) = Told::new(Fills);
        let created = named("j").create_block_job(bql, &disk, Perm::empty(), Perm::all(), driver);
        let job = created.expect("created").start(bql).expect("started");
        until(bql, || job.is_paused());
        assert_eq!(job.io_status(), IoStatus::NoSpace);
        job.reset_io_status(bql);
        assert_eq!(job.io_status(), IoStatus::Ok);
        assert!(job.is_user_paused(), "it is the status only that is gone");
        job.wait(bql).expect("it goes on");
    });
}

#[test]
fn a_handle_keeps_what_a_job_was_and_the_last_one_lets_it_go() {
    in_layer(|bql| {
        let (driver, list) = Told::new(Rests);
        let heard = Arc::downgrade(&list);
        drop(list);
        let transaction = JobTransaction::new(bql);
        let builder = named("j").transaction(&transaction);
        let created = builder.create(bql, driver).expect("created");
        // The handle of a transaction is for making its jobs only.
        drop(transaction);
        let job = created.start(bql).expect("started");
        let other = job.clone();
        assert!(other == job);
        job.cancel_sync(bql, true).expect_err("cancelled");
        until(bql, || job.status() == JobStatus::Null);
        drop(job);
        bql.poll(block_io::aio::Wait::No);
        assert_eq!((other.name(), other.status()), ("j", JobStatus::Null));
        assert!(heard.upgrade().is_some(), "one handle is left");
        drop(other);
        until(bql, || heard.upgrade().is_none());
    });
}
