//! Twin of bad.rs: dropping it lets the main loop detach the device.

use block_gs::{Attachment, BqlGuard, DeviceOps};
use block_io::{DeviceIdentity, DeviceIo};
use std::sync::Arc;
use ui_tests::{disk, in_main_loop, iothread, null};

struct Disk;

impl DeviceIo for Disk {}

impl DeviceOps for Disk {}

async fn unplugged(attached: Attachment) {
    drop(attached);
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let attached = disk.attach_device(bql, DeviceIdentity::default(), Arc::new(Disk))?;
        let unplug = iothread(bql, "io0").context().spawn(unplugged(attached));
        bql.block_on(unplug);
        bql.poll_until(|bql| disk.perms(bql).perm.is_empty());
        Ok(())
    });
}
