//! Twin of bad.rs: a `Walk` borrows nothing, and finds its place again.

use block_gs::{BqlGuard, Walk};
use block_io::IoError;
use ui_tests::{disk, in_main_loop, null};

fn flush_all(bql: &mut BqlGuard) -> Result<(), IoError> {
    let mut walk = Walk::over_top_nodes();
    while let Some(node) = walk.next(bql) {
        node.drain(bql).io(async |request| request.flush().await)?;
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
