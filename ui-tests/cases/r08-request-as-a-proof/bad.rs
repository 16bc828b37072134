//! Rule R8: A function that waits does not take the request of its caller for a proof.
//! QEMU: V042, a generated co_wrapper polls outside a coroutine, and its caller has to know
//! where it is.
//! Shape: argument.
//! Why: A request may be in a coroutine, so it is neither of the two proofs.

use block_gs::{Backend, BqlGuard};
use ui_tests::{Outcome, SIZE, disk, in_main_loop, null};

fn length_of(bql: &mut BqlGuard, disk: &Backend) -> Outcome {
    let in_flight = bql.block_on(disk.root().begin());
    let length = disk.length_blocking(&mut in_flight.request()?)?;
    //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread"
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
