//! Twin of bad.rs: what waits is left for when everything is over.

use block_gs::{AfterReopen, BqlGuard, Drained, PreparedReopen, ReopenCommit};
use block_io::Request;
use ui_tests::in_main_loop;

struct Patient;

impl PreparedReopen for Patient {
    fn commit(self: Box<Self>, _reopen: &mut ReopenCommit<'_>) -> AfterReopen {
        Some(Box::new(|section: &mut Drained<'_>| {
            let _ = section.io(async |request: Request<'_>| request.flush().await);
        }))
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let disk = ui_tests::null(bql, "disk");
        let prepared: Box<dyn PreparedReopen> = Box::new(Patient);
        prepared.abort(bql, &disk);
        Ok(())
    });
}
