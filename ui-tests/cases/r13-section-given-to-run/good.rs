//! Twin of bad.rs: the section ends where it was begun.

use block_gs::BqlGuard;
use block_jobs::{Failure, Job};
use ui_tests::{Amend, in_main_loop, null, run_job};

fn start(bql: &mut BqlGuard, job: &Job) -> Result<u32, Failure> {
    let node = job.nodes(bql).remove(0);
    let section = node.drain(bql);
    Ok(node.view(&section).quiesce_count())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let job = run_job(bql, &node, Amend)?;
        assert_eq!(job.progress().current, 512);
        assert_eq!(start(bql, &job)?, 1);
        Ok(())
    });
}
