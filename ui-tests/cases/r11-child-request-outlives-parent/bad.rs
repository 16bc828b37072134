//! Rule R11: The request of a child does not outlive the request it belongs to.
//! QEMU: None recorded. bdrv_dec_in_flight() does not know what is still being used.
//! Shape: return.
//! Why: A `Request` borrows the `InFlight` above it.

use block_gs::BqlGuard;
use block_io::{IoError, Root};
use ui_tests::{SIZE, disk, in_main_loop, null, raw};

async fn read_child(root: &Root) -> Result<u64, IoError> {
    let file = {
        let in_flight = root.begin().await;
        in_flight.request()?.file()?
        //~^ E0597 "`in_flight` does not live long enough"
    };
    file.refresh_length().await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let file = null(bql, "file");
        let format = raw(bql, "format", &file);
        let disk = disk(bql, "disk", &format);
        assert_eq!(bql.block_on(read_child(disk.root()))?, SIZE);
        Ok(())
    });
}
