//! Rule R7: A driver that commits a reopen does not poll: of several nodes some are new already.
//! QEMU: None recorded. A bdrv_reopen_commit callback may call anything.
//! Shape: trait-object.
//! Why: What it gets shows the guard and does not lend it; what waits comes in `AfterReopen`.

use block_gs::{AfterReopen, BqlGuard, PreparedReopen, ReopenCommit};
use block_io::aio::Wait;
use ui_tests::in_main_loop;

struct Impatient;

impl PreparedReopen for Impatient {
    fn commit(self: Box<Self>, reopen: &mut ReopenCommit<'_>) -> AfterReopen {
        reopen.poll(Wait::No);
        //~^ E0596 "cannot borrow data in dereference of `ReopenCommit<'_>` as mutable"
        None
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let disk = ui_tests::null(bql, "disk");
        let prepared: Box<dyn PreparedReopen> = Box::new(Impatient);
        prepared.abort(bql, &disk);
        Ok(())
    });
}
