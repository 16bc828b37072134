//! Rule R12: A device that is unplugged does not give its permissions back in its iothread.
//! QEMU: None recorded. blk_detach_dev() -> blk_set_perm(), which drains.
//! Shape: async.
//! Why: `Attachment::detach` takes `&mut BqlGuard`; what may be done anywhere is to drop it.

use block_gs::{Attachment, BqlGuard, DeviceOps};
use block_io::{DeviceIdentity, DeviceIo};
use std::sync::Arc;
use ui_tests::{disk, in_main_loop, iothread, null};

struct Disk;

impl DeviceIo for Disk {}

impl DeviceOps for Disk {}

async fn unplugged(attached: Attachment) {
    attached.detach();
    //~^ E0061 "argument #1 of type `&mut BqlGuard` is missing"
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
