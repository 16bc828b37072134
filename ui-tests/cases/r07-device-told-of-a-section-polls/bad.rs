//! Rule R7: A device that hears of a drained section does not poll until it is idle.
//! QEMU: V081, for other parents: drained_begin -> aio_poll(); a comment forbids it.
//! Shape: trait-object.
//! Why: The device is told with `&BqlGuard`; polling takes `&mut BqlGuard`.

use block_gs::{BqlGuard, DeviceOps};
use block_io::{DeviceIdentity, DeviceIo};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use ui_tests::{disk, in_main_loop, null};

#[derive(Default)]
struct NbdClient {
    polls: AtomicU32,
}

impl DeviceIo for NbdClient {}

impl DeviceOps for NbdClient {
    fn drained_begin(&self, bql: &BqlGuard) {
        bql.poll_until(|_| self.polls.fetch_add(1, Ordering::Relaxed) == 2);
        //~^ E0596 "cannot borrow `*bql` as mutable, as it is behind a `&` reference"
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, client) = (null(bql, "node"), Arc::new(NbdClient::default()));
        let disk = disk(bql, "disk", &node);
        let export = disk.attach_device(bql, DeviceIdentity::default(), client.clone())?;
        disk.drain(bql).end();
        assert!(client.polls.load(Ordering::Relaxed) > 2);
        export.detach(bql);
        Ok(())
    });
}
