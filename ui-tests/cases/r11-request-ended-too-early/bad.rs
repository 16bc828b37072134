//! Rule R11: Nothing of a request is used after its count is given back.
//! QEMU: None recorded. blk_dec_in_flight() does not know what is still being used.
//! Shape: order.
//! Why: Ending the `InFlight` takes it by value, which the `Request` forbids while it is used.

use block_gs::BqlGuard;
use block_io::{IoError, Root};
use ui_tests::{SIZE, disk, in_main_loop, null};

async fn length_of(root: &Root) -> Result<u64, IoError> {
    let in_flight = root.begin().await;
    let request = in_flight.request()?;
    drop(in_flight);
    //~^ E0505 "cannot move out of `in_flight` because it is borrowed"
    request.refresh_length().await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        assert_eq!(bql.block_on(length_of(disk.root()))?, SIZE);
        Ok(())
    });
}
