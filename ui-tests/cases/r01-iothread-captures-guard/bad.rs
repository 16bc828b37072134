//! Rule R1: A task of an iothread cannot take the proof along.
//! QEMU: V046, scsi_read_complete() in an iothread -> blk_set_guest_block_size().
//! Shape: async.
//! Why: A `BqlGuard` is not `Sync`, so a future that borrows one is not `Send`.

use block_gs::{BqlGuard, GraphError, Perm};
use ui_tests::{disk, in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let (root, io0) = (disk.root().clone(), iothread(bql, "io0"));
        let (perm, shared) = (Perm::CONSISTENT_READ, Perm::all());
        let done = io0.context().spawn(async move {
            //~^ "future cannot be sent between threads safely"
            let length = root.length().await?;
            disk.set_perm(bql, perm, shared)?;
            Ok::<_, GraphError>(length)
        });
        drop(done);
        Ok(())
    });
}
