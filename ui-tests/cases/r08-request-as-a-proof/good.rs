//! Twin of bad.rs: the caller passes the proof of the main thread.

use block_gs::{Backend, BqlGuard};
use ui_tests::{Outcome, SIZE, disk, in_main_loop, null};

fn length_of(bql: &mut BqlGuard, disk: &Backend) -> Outcome {
    let in_flight = bql.block_on(disk.root().begin());
    let length = disk.length_blocking(bql)?;
    assert_eq!((length, disk.root().in_flight()), (SIZE, 1));
    drop(in_flight);
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        length_of(bql, &disk)
    });
}
