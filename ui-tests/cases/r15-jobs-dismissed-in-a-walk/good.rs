//! Twin of bad.rs: the walk is over before the first job goes.

use block_gs::BqlGuard;
use block_jobs::jobs;
use ui_tests::{Amend, in_main_loop, null, run_job};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        run_job(bql, &node, Amend)?;
        let all: Vec<_> = jobs(bql).collect();
        for job in all {
            job.dismiss(bql)?;
        }
        assert_eq!(jobs(bql).count(), 0);
        Ok(())
    });
}
