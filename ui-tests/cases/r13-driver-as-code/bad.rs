//! Rule R13: A driver does not pass for the code that it would make.
//! QEMU: V070, blockdev_amend_pre_run() runs before the driver is ready, and nothing ties the two.
//! Shape: generic.
//! Why: A bound `JobRun` is met by what `start` returns, not by what has a `start`.

use block_gs::BqlGuard;
use block_jobs::JobRun;
use ui_tests::{Amend, in_main_loop, null, run_job};

fn is_named(code: &impl JobRun) -> bool {
    !std::any::type_name_of_val(code).is_empty()
}

fn amend() -> bool {
    is_named(&Amend)
    //~^ E0277 "is not the code of a job"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let job = run_job(bql, &node, Amend)?;
        assert_eq!(job.progress().current, 512);
        Ok(())
    });
}
