//! Twin of bad.rs: it ends afterwards.

use block_gs::BqlGuard;
use block_io::{Activity, IoError, IoNode};
use std::sync::Arc;
use ui_tests::{SIZE, in_main_loop, null};

async fn background(node: Arc<IoNode>) -> Result<u64, IoError> {
    let in_flight = Activity::begin(node).await;
    let length = in_flight.request().refresh_length();
    let length = length.await;
    drop(in_flight);
    length
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node").io().clone();
        assert_eq!(bql.block_on(background(node))?, SIZE);
        Ok(())
    });
}
