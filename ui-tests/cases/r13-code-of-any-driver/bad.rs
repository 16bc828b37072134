//! Rule R13: Whoever has a driver of any type has no code of it.
//! QEMU: None recorded. `job->driver->run` is there as soon as the driver is.
//! Shape: generic.
//! Why: A bound `JobDriver` promises a `start`, which takes the guard, and nothing else that makes a `Run`.

use block_gs::BqlGuard;
use block_jobs::JobDriver;
use ui_tests::{Amend, in_main_loop, null, run_job};

fn code_of<D: JobDriver>() -> D::Run {
    D::Run::default()
    //~^ E0599 "no function or associated item named `default` found"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let job = run_job(bql, &node, Amend)?;
        assert_eq!(job.progress().current, 512);
        Ok(())
    });
}
