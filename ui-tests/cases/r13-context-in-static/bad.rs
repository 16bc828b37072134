//! Rule R13: A job's context is not kept for later.
//! QEMU: None recorded. A Job can be kept anywhere, and used by whoever finds it.
//! Shape: static.
//! Why: It is lent to the code, which ends before the job does.

use std::sync::Mutex;

use block_gs::BqlGuard;
use block_jobs::{Failure, Job, JobContext, JobDriver, JobRun, JobType};
use ui_tests::{Amend, AmendRun, in_main_loop, null, run_job};

static KEPT: Mutex<Option<&mut JobContext<'static>>> = Mutex::new(None);

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
        *KEPT.lock().expect("no panic") = Some(job);
        //~^ E0521 "`'1` must outlive"
        //~^^ E0521 "`'2` must outlive"
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
