//! Twin of bad.rs: the iterator is one over handles.

use block_gs::{Backend, BqlGuard, backends};
use ui_tests::{Outcome, disk, in_main_loop, null};

fn flush_each(bql: &mut BqlGuard, each: impl IntoIterator<Item = Backend>) -> Outcome {
    for backend in each {
        backend.flush_blocking(bql)?;
    }
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let _disks = (disk(bql, "one", &node), disk(bql, "two", &node));
        let all: Vec<Backend> = backends(bql).collect();
        flush_each(bql, all)
    });
}
