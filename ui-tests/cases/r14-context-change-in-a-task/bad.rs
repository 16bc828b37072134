//! Rule R14: A task does not tell a driver that its context changes.
//! QEMU: V073, bdrv_child_get_parent_aio_context() -> BdrvChildClass.get_parent_aio_context,
//! sorted as global state and called by I/O.
//! Shape: async.
//! Why: The callback takes a `&BqlGuard`; the task has a counted request.

use block_gs::{BlockDriver, BqlGuard, MainLoop};
use block_io::{Activity, IoNode};
use std::sync::Arc;
use ui_tests::{Overlay, in_main_loop, iothread, null};

async fn detach(node: Arc<IoNode>, main: MainLoop) -> bool {
    let counted = Activity::begin(node.clone()).await;
    Overlay.detach_context(counted.request(), &node);
    //~^ E0308 "expected `&BqlGuard`, found `Request<'_>`"
    drop(main);
    true
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let detached = detach(node.io().clone(), bql.main_loop());
        let detached = iothread(bql, "io0").context().spawn(detached);
        assert!(bql.block_on(detached));
        Ok(())
    });
}
