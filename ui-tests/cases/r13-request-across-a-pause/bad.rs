//! Rule R13: A job does not pause in the middle of a request.
//! QEMU: None recorded. A job that pauses with a request in flight is waited for by the drain, and waits for it.
//! Shape: order.
//! Why: A request borrows the context, and a pause point takes it exclusively.

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
        let target = self.inner.permitted().clone();
        let in_flight = job.begin(&target).await?;
        job.pause_point().await;
        //~^ E0499 "cannot borrow `*job` as mutable more than once at a time"
        in_flight.request()?.flush().await?;
        Ok(())
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
