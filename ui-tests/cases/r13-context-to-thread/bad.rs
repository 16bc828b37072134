//! Rule R13: The code of a job is in one place at a time.
//! QEMU: V076, run, pause and resume fit no layer: any thread, one at a time, not thread-safe.
//! Shape: thread.
//! Why: The context is lent for the run; a thread could outlive it.

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
        let helper = std::thread::spawn(move || job.progress_done(512));
        //~^ E0521 "`'1` must outlive"
        //~^^ E0521 "`'2` must outlive"
        helper.join().expect("no panic");
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
