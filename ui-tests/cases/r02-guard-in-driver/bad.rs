//! Rule R2: A driver cannot keep the proof.
//! QEMU: None recorded. The BQL belongs to a thread there, so there is nothing to keep.
//! Shape: field.
//! Why: A driver is `Send + Sync`, because any thread calls its I/O half; `BqlGuard` is
//! neither.

use block_gs::{BqlGuard, nodes};
use block_io::{Destination, DriverIo, IoFuture, Request};

struct Driver {
    bql: &'static BqlGuard,
}

impl DriverIo for Driver {
    //~^ E0277 "cannot be shared between threads safely"
    fn read<'r>(&'r self, _: Request<'r>, _: u64, _: Destination<'r>) -> IoFuture<'r> {
        IoFuture::done()
    }

    fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(512))
    }
}

fn opened(driver: &Driver) -> usize {
    nodes(driver.bql).count()
}

fn main() {
    assert!(std::mem::size_of_val(&opened) == 0);
}
