//! Twin of bad.rs: a handle can be kept, and only asks.

use std::sync::Mutex;

use block_gs::BqlGuard;
use block_jobs::{Failure, Job, JobContext, JobDriver, JobRun, JobType};
use ui_tests::{Amend, AmendRun, in_main_loop, null, run_job};

static KEPT: Mutex<Option<Job>> = Mutex::new(None);

struct Outer;

struct OuterRun {
    inner: AmendRun,
}

impl JobDriver for Outer {
    type Run = OuterRun;

    fn kind(&self) -> JobType {
        JobType::Amend
    }

    fn start(&self, bql: &mut BqlGuard, job: &Job) -> Result<OuterRun, Failure> {
        *KEPT.lock().expect("no panic") = Some(job.clone());
        Ok(OuterRun {
            inner: Amend.start(bql, job)?,
        })
    }
}

impl JobRun for OuterRun {
    async fn run(self, job: &mut JobContext<'_>) -> Result<(), Failure> {
        self.inner.run(job).await
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let job = run_job(bql, &node, Outer)?;
        assert_eq!(job.progress().current, 512);
        Ok(())
    });
}
