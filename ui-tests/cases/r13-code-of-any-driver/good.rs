//! Twin of bad.rs: with the guard and the job, `start` makes it.

use block_gs::BqlGuard;
use block_jobs::{Failure, Job, JobDriver};
use ui_tests::{Amend, create_job, in_main_loop, null, run_job};

fn code_of<D: JobDriver>(bql: &mut BqlGuard, job: &Job, driver: &D) -> Result<D::Run, Failure> {
    driver.start(bql, job)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let created = create_job(bql, &node, Amend);
        let code = code_of(bql, created.job(), &Amend)?;
        assert_eq!(code.permitted().backend().node(bql), Some(node.clone()));
        drop(code);
        created.discard(bql);
        let job = run_job(bql, &node, Amend)?;
        assert_eq!(job.progress().current, 512);
        Ok(())
    });
}
