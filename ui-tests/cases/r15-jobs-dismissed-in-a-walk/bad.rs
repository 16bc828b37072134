//! Rule R15: The list of jobs is not walked while jobs come to their end.
//! QEMU: V082, block_job_remove_all_bdrv() walks a list that what it calls may walk and change.
//! Shape: argument.
//! Why: The iterator borrows the guard, and what ends a job needs it exclusively.

use block_gs::BqlGuard;
use block_jobs::jobs;
use ui_tests::{Amend, in_main_loop, null, run_job};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        run_job(bql, &node, Amend)?;
        for job in jobs(bql) {
            job.dismiss(bql)?;
            //~^ E0502 "cannot borrow `*bql` as mutable"
        }
        Ok(())
    });
}
