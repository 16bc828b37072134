//! Rule R13: Code is not run without the job that it belongs to.
//! QEMU: V072, JobDriver.run is called by the job's coroutine; that it is, is asserted.
//! Shape: argument.
//! Why: `run` takes the `JobContext`, and only a job that was started has one.

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
    async fn run(self, _job: &mut JobContext<'_>) -> Result<(), Failure> {
        self.inner.run().await
        //~^ E0061 "argument #1 of type `&mut JobContext<'_>` is missing"
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
