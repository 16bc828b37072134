//! Rule R1: A task that copies for a job cannot clear the bitmap of a user.
//! QEMU: None recorded. bdrv_clear_dirty_bitmap() is sorted as I/O, and takes any bitmap.
//! Shape: async.
//! Why: A named bitmap is global state; I/O code has a reader, or a bitmap of its own.

use block_gs::{BitmapOptions, BqlGuard, DirtyBitmap};
use ui_tests::{in_main_loop, iothread, null};

async fn mark_as_copied(bitmap: DirtyBitmap) {
    let cleared = bitmap.clear();
    //~^ E0061 "argument #1 of type `&mut BqlGuard` is missing"
    cleared.expect("nobody else uses it");
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let disk = null(bql, "disk");
        let bitmap = disk.add_bitmap(bql, "since-monday", BitmapOptions::default())?;
        let job = iothread(bql, "io0").context().spawn(mark_as_copied(bitmap));
        bql.block_on(job);
        Ok(())
    });
}
