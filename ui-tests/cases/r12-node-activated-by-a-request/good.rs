//! Twin of bad.rs: the request does the driver's half, the main loop the rest.

use block_gs::BqlGuard;
use block_io::{IoError, Request};
use ui_tests::{in_main_loop, null};

async fn look_again(request: Request<'_>) -> Result<(), IoError> {
    request.invalidate_cache().await?;
    request.refresh_length().await.map(drop)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        node.inactivate(bql)?;
        node.drain(bql).io(look_again)?;
        assert!(node.view(bql).is_inactive());
        node.activate(bql)?;
        assert!(!node.view(bql).is_inactive());
        Ok(())
    });
}
