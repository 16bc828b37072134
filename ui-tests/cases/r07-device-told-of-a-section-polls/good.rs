//! Twin of bad.rs: the device says that it is busy, and the section polls.

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
    fn drained_poll(&self, bql: &BqlGuard) -> bool {
        bql.main_loop().kick();
        self.polls.fetch_add(1, Ordering::Relaxed) < 2
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
