//! Twin of bad.rs: the handle of the started job is what is kept.

use block_gs::BqlGuard;
use ui_tests::{Amend, create_job, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let created = create_job(bql, &node, Amend);
        let job = created.start(bql)?;
        let again = job.clone();
        assert_eq!(job, again);
        job.wait(bql)?;
        Ok(())
    });
}
