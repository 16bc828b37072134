//! Twin of bad.rs: the context is handed on.

use block_gs::BqlGuard;
use block_jobs::{Failure, Job, JobContext, JobDriver, JobRun, JobType};
use ui_tests::{Amend, AmendRun, in_main_loop, null, run_job};

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
