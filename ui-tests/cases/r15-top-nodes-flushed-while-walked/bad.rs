//! Rule R15: The nodes in use are not flushed by the walk that finds them.
//! QEMU: None recorded. bdrv_flush_all() polls between two calls of bdrv_next(), which therefore
//! keeps references.
//! Shape: order.
//! Why: The iterator borrows the guard, and a section takes it exclusively.

use block_gs::{BqlGuard, top_nodes};
use block_io::IoError;
use ui_tests::{disk, in_main_loop, null};

fn flush_all(bql: &mut BqlGuard) -> Result<(), IoError> {
    for view in top_nodes(bql) {
        let node = view.node(bql);
        node.drain(bql).io(async |request| request.flush().await)?;
        //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
    }
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let _disk = disk(bql, "disk", &node);
        Ok(flush_all(bql)?)
    });
}
