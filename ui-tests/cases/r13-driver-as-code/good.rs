//! Twin of bad.rs: the code, which somebody has prepared.

use block_gs::BqlGuard;
use block_jobs::JobRun;
use ui_tests::{Amend, AmendRun, in_main_loop, null, run_job};

fn is_named(code: &impl JobRun) -> bool {
    !std::any::type_name_of_val(code).is_empty()
}

fn amend(code: &AmendRun) -> bool {
    is_named(code)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let job = run_job(bql, &node, Amend)?;
        assert_eq!(job.progress().current, 512);
        Ok(())
    });
}
