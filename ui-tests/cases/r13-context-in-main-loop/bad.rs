//! Rule R13: What the main loop does for a job does not run the job.
//! QEMU: None recorded. A bottom half of a job gets the Job, and may call anything of it.
//! Shape: closure.
//! Why: The closure is sent to the main loop, and the context is lent to the code.

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
        let done = job.main_loop(move |_bql| job.progress_done(512)).await;
        //~^ E0505 "cannot move out of `job` because it is borrowed"
        //~^^ E0521 "`'1` must outlive"
        //~^^^ E0521 "`'2` must outlive"
        assert_eq!(done, Ok(()));
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
