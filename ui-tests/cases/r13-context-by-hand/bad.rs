//! Rule R13: A job's context is not made by hand.
//! QEMU: None recorded. A Job is a struct, and whoever has the pointer may run its code.
//! Shape: literal.
//! Why: Its fields are private, and nothing makes one but the start of a job.

use block_gs::BqlGuard;
use block_jobs::{JobContext, JobRun};
use ui_tests::{Amend, AmendRun, in_main_loop, null, run_job};

async fn run_somewhere(code: AmendRun) {
    let mut job = JobContext { step: None };
    //~^ "cannot construct `JobContext<'_>` with struct literal syntax due to private fields"
    assert_eq!(code.run(&mut job).await, Ok(()));
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let job = run_job(bql, &node, Amend)?;
        assert_eq!(job.progress().current, 512);
        Ok(())
    });
}
