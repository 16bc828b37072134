//! Twin of bad.rs: the job layer makes the context.

use block_gs::BqlGuard;
use ui_tests::{Amend, in_main_loop, null, run_job};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let job = run_job(bql, &node, Amend)?;
        assert_eq!(job.progress().current, 512);
        Ok(())
    });
}
