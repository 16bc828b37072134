//! Every verb in every state.

mod common;

use std::sync::{Arc, Mutex};

use block_gs::BqlGuard;
use block_jobs::{
    CopyMode, Failure, Job, JobBuilder, JobChange, JobContext, JobDriver, JobError, JobRun,
    JobStatus, JobTransaction, JobType, JobVerb,
};
use common::{Plan, Watch, create, create_over, in_layer, node, start_over, until};

fn ask(bql: &mut BqlGuard, job: &Job, verb: JobVerb) -> Result<(), JobError> {
    match verb {
        JobVerb::Cancel => job.cancel(bql, true),
        JobVerb::Pause => job.user_pause(bql),
        JobVerb::Resume => job.user_resume(bql),
        JobVerb::SetSpeed => job.set_speed(bql, 1 << 20),
        JobVerb::Complete => job.complete(bql),
        JobVerb::Finalize => job.finalize(bql),
        JobVerb::Dismiss => job.dismiss(bql),
        JobVerb::Change => job.change(bql, JobChange::CopyMode(CopyMode::Background)),
    }
}

/// What keeps a job where it is.
struct There {
    job: Job,
    _created: Option<block_jobs::CreatedJob>,
    others: Vec<Job>,
}

/// A job in this state.
fn bring(bql: &mut BqlGuard, status: JobStatus) -> There {
    let disk = node(bql, "disk");
    let manual = || JobBuilder::new().manual_finalize().manual_dismiss();
    let builder = || manual().id("j");
    let ready = Plan {
        ready: true,
        ..Plan::default()
    };
    let ends = Plan {
        ends_with: Some(0),
        ..Plan::default()
    };
    let of = |job: &Job| There {
        job: job.clone(),
        _created: None,
        others: Vec::new(),
    };
    let there = match status {
        JobStatus::Created => {
            let (created, _) = create_over(bql, builder(), &disk, ends).expect("created");
            There {
                job: created.job().clone(),
                _created: Some(created),
                others: Vec::new(),
            }
        }
        JobStatus::Running | JobStatus::Paused => {
            let (job, watch) = start_over(bql, builder(), &disk, Plan::default());
            until(bql, || watch.rounds() > 0);
            of(&job)
        }
        JobStatus::Ready | JobStatus::Standby => {
            let (job, _) = start_over(bql, builder(), &disk, ready);
            until(bql, || job.is_ready());
            of(&job)
        }
        JobStatus::Waiting => {
            let together = JobTransaction::new(bql);
            let one = builder().transaction(&together);
            let two = manual().id("k").transaction(&together);
            let (other, _) = start_over(bql, two, &disk, Plan::default());
            let (job, _) = start_over(bql, one, &disk, ends);
            There {
                others: vec![other],
                ..of(&job)
            }
        }
        JobStatus::Pending => of(&start_over(bql, builder(), &disk, ends).0),
        JobStatus::Concluded | JobStatus::Null => {
            let builder = JobBuilder::new().id("j").manual_dismiss();
            let (job, _) = start_over(bql, builder, &disk, ends);
            until(bql, || job.status() == JobStatus::Concluded);
            if status == JobStatus::Null {
                job.dismiss(bql).expect("it is over");
            }
            of(&job)
        }
        JobStatus::Undefined | JobStatus::Aborting => unreachable!("not seen from outside"),
    };
    if matches!(status, JobStatus::Paused | JobStatus::Standby) {
        there.job.user_pause(bql).expect("it runs");
    }
    until(bql, || there.job.status() == status);
    there
}

/// Whether a verb that its state allows is refused all the same.
fn refusal(status: JobStatus, verb: JobVerb) -> Option<String> {
    let paused = matches!(status, JobStatus::Paused | JobStatus::Standby);
    match verb {
        JobVerb::Pause if paused => Some("Job is already paused".to_owned()),
        JobVerb::Resume if !paused => Some("Can't resume a job that was not paused".to_owned()),
        _ if !status.allows(verb) => Some(format!(
            "Job 'j' in state '{status}' cannot accept command verb '{verb}'"
        )),
        JobVerb::Change => Some("Job type does not support change".to_owned()),
        _ => None,
    }
}

#[test]
fn every_verb_in_every_state() {
    for status in JobStatus::ALL {
        if matches!(status, JobStatus::Undefined | JobStatus::Aborting) {
            continue;
        }
        for verb in JobVerb::ALL {
            in_layer(|bql| {
                let there = bring(bql, status);
                let answer = ask(bql, &there.job, verb).err();
                let words = answer.map(|error| error.to_string());
                assert_eq!(words, refusal(status, verb), "{verb} of a {status} job");
                // It ends all the same, and well-ordered.
                block_jobs::cancel_all(bql);
                assert_eq!(there.job.status(), JobStatus::Null, "{status}, {verb}");
                for other in &there.others {
                    assert_eq!(other.status(), JobStatus::Null);
                }
            });
        }
    }
}

/// Asks for everything while it is being undone.
struct Asks {
    answers: Arc<Mutex<Vec<String>>>,
}

struct Fails;

impl JobDriver for Asks {
    type Run = Fails;

    fn kind(&self) -> JobType {
        JobType::Commit
    }

    fn start(&self, _bql: &mut BqlGuard, _job: &Job) -> Result<Fails, Failure> {
        Ok(Fails)
    }

    fn abort(&self, bql: &mut BqlGuard, job: &Job) {
        for verb in JobVerb::ALL {
            let answer = ask(bql, job, verb).expect_err("too late");
            self.answers
                .lock()
                .expect("no panic")
                .push(answer.to_string());
        }
    }
}

impl JobRun for Fails {
    async fn run(self, _job: &mut JobContext<'_>) -> Result<(), Failure> {
        Err(Failure::new(5, "it does not work"))
    }
}

#[test]
fn nothing_is_asked_of_a_job_that_is_being_undone() {
    in_layer(|bql| {
        let answers = Arc::new(Mutex::new(Vec::new()));
        let driver = Asks {
            answers: Arc::clone(&answers),
        };
        let created = JobBuilder::new().id("j").create(bql, driver);
        let job = created.expect("created").start(bql).expect("started");
        until(bql, || job.status() == JobStatus::Null);
        let expected: Vec<String> = JobVerb::ALL
            .into_iter()
            .map(|verb| refusal(JobStatus::Aborting, verb).expect("all are refused"))
            .collect();
        assert_eq!(*answers.lock().expect("no panic"), expected);
    });
}

#[test]
fn a_job_that_ends_by_itself_cannot_be_completed() {
    in_layer(|bql| {
        let (created, _) = create(
            bql,
            JobBuilder::new().id("j"),
            Plan {
                ready: true,
                soft: true,
                ..Plan::default()
            },
        );
        let job = created.start(bql).expect("started");
        until(bql, || job.is_ready());
        job.cancel(bql, false).expect("it runs");
        let late = job.complete(bql).expect_err("cancelled");
        assert_eq!(
            late.to_string(),
            "The active block job 'j' cannot be completed"
        );
    });
}

#[test]
fn without_force_a_paused_job_is_not_cancelled() {
    in_layer(|bql| {
        let there = bring(bql, JobStatus::Paused);
        let refused = there.job.cancel(bql, false).expect_err("paused");
        assert_eq!(
            refused.to_string(),
            "The block job for device 'j' is currently paused"
        );
        assert!(!there.job.is_cancel_requested());
    });
}

#[test]
fn a_speed_is_not_negative() {
    in_layer(|bql| {
        let there = bring(bql, JobStatus::Running);
        let refused = there.job.set_speed(bql, -1).expect_err("negative");
        assert_eq!(
            refused.to_string(),
            "Parameter 'speed' expects a non-negative value"
        );
        there.job.set_speed(bql, 4096).expect("a speed");
        let info = there.job.block_job_info(bql).expect("visible");
        assert_eq!((info.speed, info.paused), (4096, false));
    });
}

#[test]
fn both_ways_to_look_for_a_job_miss_in_their_own_words() {
    in_layer(|bql| {
        let error = block_jobs::find(bql, "x").expect_err("none");
        assert_eq!(error.to_string(), "Job not found");
        let error = block_jobs::find_block_job(bql, "x").expect_err("none");
        assert_eq!(error.to_string(), "Block job 'x' not found");
        assert_eq!(error.class(), "DeviceNotActive");
        let watch = Arc::new(Watch::default());
        let plan = Plan::default();
        let driver = common::TestDriver { plan, watch };
        let created = JobBuilder::new().id("x").create(bql, driver).expect("made");
        assert!(block_jobs::find(bql, "x").is_ok());
        assert!(block_jobs::find_block_job(bql, "x").is_err());
        created.discard(bql);
    });
}
