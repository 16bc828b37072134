//! Twin of bad.rs: the main loop prepares it, and is told what the driver cannot do.

use block_gs::{Amendment, BqlGuard, Value};
use block_io::{IoError, Request};
use ui_tests::{in_main_loop, null};

async fn amend(request: Request<'_>, prepared: &Amendment) -> Result<(), IoError> {
    request.amend(prepared.ready()?).await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let options = Value::map([("size", 1u64.into())]);
        let prepared = node.prepare_amend(bql, &options, false);
        let refused = prepared.and_then(|prepared| {
            let change = async |request: Request<'_>| amend(request, &prepared).await;
            Ok(node.drain(bql).io(change)?)
        });
        assert!(refused.is_err());
        Ok(())
    });
}
