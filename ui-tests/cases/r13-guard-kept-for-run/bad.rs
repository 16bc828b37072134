//! Rule R13: The preparation does not leave the guard to the code.
//! QEMU: V069, a job's code calls what only the main thread may, and finds nothing in its way.
//! Shape: field.
//! Why: Code is `Send`, and the guard, borrowed or not, is not.

use block_gs::BqlGuard;
use block_jobs::{Failure, JobContext, JobRun};
use ui_tests::{Amend, in_main_loop, null, run_job};

struct Armed {
    bql: &'static mut BqlGuard,
}

impl JobRun for Armed {
    //~^ E0277 "cannot be sent between threads safely"
    async fn run(self, job: &mut JobContext<'_>) -> Result<(), Failure> {
        //~^ "future cannot be sent between threads safely"
        job.progress_done(block_gs::nodes(self.bql).count() as u64);
        Ok(())
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let job = run_job(bql, &node, Amend)?;
        assert_eq!(job.progress().current, 512);
        Ok(())
    });
}
