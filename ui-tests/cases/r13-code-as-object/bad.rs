//! Rule R13: Code is not hidden from the job that it was made for.
//! QEMU: None recorded. JobDriver.run is found through a table of pointers.
//! Shape: trait-object.
//! Why: `JobRun` takes itself by value and returns a future of its own, so there is no `dyn JobRun`.

use block_gs::BqlGuard;
use block_jobs::JobRun;
use ui_tests::{Amend, in_main_loop, null, run_job};

fn keep(_code: Box<dyn JobRun>) {}
//~^ E0038 "the trait `JobRun` is not dyn compatible"

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let job = run_job(bql, &node, Amend)?;
        assert_eq!(job.progress().current, 512);
        Ok(())
    });
}
