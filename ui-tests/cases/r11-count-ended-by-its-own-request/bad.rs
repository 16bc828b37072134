//! Rule R11: An activity does not end while its request is at work.
//! QEMU: None recorded. bdrv_dec_in_flight() does not know what is still being used.
//! Shape: receiver.
//! Why: The request borrows the `Activity` that counts it.

use block_gs::BqlGuard;
use block_io::{Activity, IoError, IoNode};
use std::sync::Arc;
use ui_tests::{SIZE, in_main_loop, null};

async fn background(node: Arc<IoNode>) -> Result<u64, IoError> {
    let in_flight = Activity::begin(node).await;
    let length = in_flight.request().refresh_length();
    drop(in_flight);
    //~^ E0505 "cannot move out of `in_flight` because it is borrowed"
    length.await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node").io().clone();
        assert_eq!(bql.block_on(background(node))?, SIZE);
        Ok(())
    });
}
