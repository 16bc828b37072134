//! Rule R13: A job is started once.
//! QEMU: None recorded. job_start() asserts that there is no coroutine yet.
//! Shape: order.
//! Why: `start` takes the `CreatedJob` by value.

use block_gs::BqlGuard;
use ui_tests::{Amend, create_job, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let created = create_job(bql, &node, Amend);
        let job = created.start(bql)?;
        let again = created.start(bql)?;
        //~^ E0382 "use of moved value: `created`"
        assert_eq!(job, again);
        Ok(())
    });
}
