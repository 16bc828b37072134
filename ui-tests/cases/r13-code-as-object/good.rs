//! Twin of bad.rs: code of one type is kept as that.

use block_gs::BqlGuard;
use ui_tests::{Amend, AmendRun, in_main_loop, null, run_job};

fn keep(_code: AmendRun) {}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let job = run_job(bql, &node, Amend)?;
        assert_eq!(job.progress().current, 512);
        Ok(())
    });
}
