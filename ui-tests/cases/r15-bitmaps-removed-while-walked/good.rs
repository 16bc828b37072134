//! Twin of bad.rs: the handles are collected first.

use block_gs::{BitmapError, BitmapOptions, BqlGuard, DirtyBitmap, Node};
use ui_tests::{in_main_loop, null};

fn remove_all(bql: &mut BqlGuard, disk: &Node) -> Result<(), BitmapError> {
    let all: Vec<DirtyBitmap> = disk.bitmaps(bql).map(|view| view.bitmap()).collect();
    for bitmap in all {
        bitmap.remove(bql)?;
    }
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let disk = null(bql, "disk");
        for name in ["one", "two"] {
            disk.add_bitmap(bql, name, BitmapOptions::default())?;
        }
        remove_all(bql, &disk)?;
        assert_eq!(disk.bitmaps(bql).count(), 0);
        Ok(())
    });
}
