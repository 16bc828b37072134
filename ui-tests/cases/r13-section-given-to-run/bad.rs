//! Rule R13: A drained section is not handed to the code.
//! QEMU: None recorded. Mirror begins a section in its code and ends it in the main loop.
//! Shape: return.
//! Why: A section borrows the guard for the call, and code outlives it.

use block_gs::{BqlGuard, Drained};
use block_jobs::{Failure, Job};
use ui_tests::{Amend, in_main_loop, null, run_job};

fn start(bql: &mut BqlGuard, job: &Job) -> Result<Drained<'static>, Failure> {
    let node = job.nodes(bql).remove(0);
    Ok(node.drain(bql))
    //~^ "lifetime may not live long enough"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let job = run_job(bql, &node, Amend)?;
        assert_eq!(job.progress().current, 512);
        Ok(())
    });
}
