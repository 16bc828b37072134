//! Rule R18: That a device could not grow is not ignored by who writes beyond its old end.
//! QEMU: None recorded. The result of a function can be ignored in C.
//! Shape: unused.
//! Why: A `Result` is `must_use`; a workspace that denies this lint does not compile it.

#![deny(unused_must_use)]

use block_gs::BqlGuard;
use block_io::{IoError, Preallocation, Root};
use ui_tests::{SIZE, disk, in_main_loop, null};

async fn grow(root: &Root) -> Result<u64, IoError> {
    root.truncate(2 * SIZE, true, Preallocation::Off).await;
    //~^ "unused `Result` that must be used"
    root.length().await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        assert!(bql.block_on(grow(disk.root())).is_err());
        Ok(())
    });
}
