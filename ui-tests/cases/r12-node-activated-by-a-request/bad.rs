//! Rule R12: A request does not activate the node that it is at.
//! QEMU: V064, bdrv_co_invalidate_cache() took permissions for the node of an iothread.
//! Shape: receiver.
//! Why: `activate` takes the exclusive proof; what is left for a request is the driver's half.

use block_gs::{BqlGuard, Node};
use block_io::{IoError, Request};
use ui_tests::{in_main_loop, null};

async fn look_again(node: &Node, request: Request<'_>) -> Result<(), IoError> {
    node.activate().map_err(|_| IoError::Inactive)?;
    //~^ E0061 "argument #1 of type `&mut BqlGuard` is missing"
    request.refresh_length().await.map(drop)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        node.inactivate(bql)?;
        let handle = node.clone();
        node.drain(bql)
            .io(async |request| look_again(&handle, request).await)?;
        assert!(!node.view(bql).is_inactive());
        Ok(())
    });
}
