//! Twin of bad.rs: it is awaited.

#![deny(unused_must_use)]

use block_gs::BqlGuard;
use block_io::{Activity, DriverIo, IoError, Request};
use ui_tests::{in_main_loop, null};

async fn flush(driver: &dyn DriverIo, request: Request<'_>) -> Result<(), IoError> {
    driver.flush(request).await?;
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        bql.block_on(flush(node.io().driver(), counted.request()))?;
        Ok(())
    });
}
