//! Twin of bad.rs: the completion schedules what is left to do in the main loop.

use block_gs::{BqlCell, BqlGuard};
use block_io::{Buffer, IoError, Root};
use std::{cell::Cell, sync::Arc};
use ui_tests::{disk, in_main_loop, iothread, null};

struct ScsiGenericDevice {
    root: Root,
    guest_block_size: BqlCell<Cell<usize>>,
}

fn blk_set_guest_block_size(bql: &BqlGuard, device: &ScsiGenericDevice, align: usize) {
    device.guest_block_size.get(bql).set(align);
}

fn scsi_read_complete(bql: &BqlGuard, device: &ScsiGenericDevice, capacity: Buffer) {
    blk_set_guest_block_size(bql, device, capacity.as_slice().len());
}

/// Calls `completion` in the context of the root.
fn blk_aio_ioctl(root: &Root, completion: impl FnOnce(Buffer) + Send + 'static) {
    let reader = root.clone();
    let read = root.spawn(async move {
        let mut buffer = Buffer::zeroed(512);
        reader.read(0, buffer.destination()).await?;
        completion(buffer);
        Ok::<_, IoError>(())
    });
    drop(read);
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let disk = disk(bql, "disk", &node);
        disk.set_iothread(bql, Some(&io0))?;
        let device = Arc::new(ScsiGenericDevice {
            root: disk.root().clone(),
            guest_block_size: BqlCell::new(bql, Cell::new(0)),
        });
        let done = device.clone();
        let main = bql.main_loop();
        blk_aio_ioctl(&device.root, move |read| {
            main.schedule(move |bql| scsi_read_complete(bql, &done, read));
        });
        bql.poll_until(|bql| device.guest_block_size.get(bql).get() == 512);
        Ok(())
    });
}
