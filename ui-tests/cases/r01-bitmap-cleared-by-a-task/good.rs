//! Twin of bad.rs: the task reads, and asks the main loop for the change.

use block_gs::{BitmapOptions, BqlGuard, DirtyBitmap, MainLoop};
use block_io::dirty::BitmapReader;
use ui_tests::{in_main_loop, iothread, null};

async fn mark_as_copied(bitmap: DirtyBitmap, reader: BitmapReader, main: MainLoop) {
    assert_eq!(reader.count(), 0);
    drop(reader);
    let cleared = main.call(move |bql| bitmap.clear(bql));
    let cleared = cleared.await.expect("the main loop");
    cleared.expect("nobody else uses it");
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let disk = null(bql, "disk");
        let bitmap = disk.add_bitmap(bql, "since-monday", BitmapOptions::default())?;
        let reader = bitmap.reader(bql)?;
        let marking = mark_as_copied(bitmap, reader, bql.main_loop());
        let job = iothread(bql, "io0").context().spawn(marking);
        bql.block_on(job);
        Ok(())
    });
}
