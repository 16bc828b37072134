//! Rule R19: Nobody makes by hand what an amendment needs from the main loop.
//! QEMU: V069, the run of a luks amendment took permissions, until bdrv_amend_pre_run() did.
//! Shape: literal.
//! Why: `AmendReady` has private fields; `Node::prepare_amend` makes one, with the proof.

use block_gs::{BqlGuard, Value};
use block_io::{AmendReady, IoError, Request};
use ui_tests::{in_main_loop, null};

async fn amend(request: Request<'_>, options: &Value) -> Result<(), IoError> {
    let ready = AmendReady {
        node: request.node().uid(),
        //~^ E0451 "fields `node`, `kept` and `progress` of struct `AmendReady` are private"
        kept: Box::new(options.clone()),
        progress: None,
    };
    request.amend(&ready).await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let options = Value::map([("size", 1u64.into())]);
        let change = async |request: Request<'_>| amend(request, &options).await;
        let refused = node.drain(bql).io(change);
        assert!(refused.is_err());
        Ok(())
    });
}
