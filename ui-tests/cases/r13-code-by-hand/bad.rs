//! Rule R13: Code that needs a permission cannot be made without it.
//! QEMU: V070, the permission is refreshed before the driver says that it needs it.
//! Shape: literal.
//! Why: The fields of the code are its module's, and `start` is the only one there that makes it.

use block_gs::BqlGuard;
use ui_tests::{Amend, AmendRun, in_main_loop, null, run_job};

fn unprepared(other: AmendRun) -> AmendRun {
    AmendRun {
        permitted: other.permitted().clone(),
        //~^ E0451 "field `permitted` of struct `AmendRun` is private"
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let job = run_job(bql, &node, Amend)?;
        assert_eq!(job.progress().current, 512);
        Ok(())
    });
}
