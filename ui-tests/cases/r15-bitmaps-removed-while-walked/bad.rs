//! Rule R15: The bitmaps of a node are not removed while they are walked.
//! QEMU: None recorded. bdrv_dirty_bitmap_next() follows the list of a bitmap that may be gone.
//! Shape: argument.
//! Why: The walk borrows the guard, removing takes it exclusively.

use block_gs::{BitmapError, BitmapOptions, BqlGuard, Node};
use ui_tests::{in_main_loop, null};

fn remove_all(bql: &mut BqlGuard, disk: &Node) -> Result<(), BitmapError> {
    for view in disk.bitmaps(bql) {
        view.bitmap().remove(bql)?;
        //~^ E0502 "cannot borrow `*bql` as mutable because it is also borrowed as immutable"
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
