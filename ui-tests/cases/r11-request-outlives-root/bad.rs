//! Rule R11: A request does not outlive the root it is counted at.
//! QEMU: None recorded. That blk->in_flight is zero when the backend goes is asserted at best.
//! Shape: return.
//! Why: `InFlight` borrows its `Root`.

use block_gs::{Backend, BqlGuard};
use block_io::InFlight;
use ui_tests::{disk, in_main_loop, null};

async fn begin(backend: &Backend) -> InFlight<'_> {
    let root = backend.root().clone();
    root.begin().await
    //~^ E0597 "`root` does not live long enough"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let in_flight = bql.block_on(begin(&disk));
        assert_eq!(in_flight.request()?.node().name(), "node");
        assert_eq!(disk.root().in_flight(), 1);
        Ok(())
    });
}
