//! Rule R13: A driver cannot be run: only what its `start` makes has code.
//! QEMU: V070, blockdev_amend_pre_run() runs before the driver is ready, and nothing ties the two.
//! Shape: receiver.
//! Why: The half with the guard has no `run`; the half with `run` is what `start` returns.

use block_gs::BqlGuard;
use block_jobs::{JobContext, JobRun};
use ui_tests::{Amend, in_main_loop, null, run_job};

async fn run_at_once(job: &mut JobContext<'_>) {
    let outcome = JobRun::run(Amend, job).await;
    //~^ E0277 "the code is what `JobDriver::start` returns, with the guard"
    //~^^ E0277 "is not the code of a job"
    assert_eq!(outcome, Ok(()));
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let job = run_job(bql, &node, Amend)?;
        assert_eq!(job.progress().current, 512);
        Ok(())
    });
}
