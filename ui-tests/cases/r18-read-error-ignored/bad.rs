//! Rule R18: The outcome of a read is not ignored.
//! QEMU: 10.0.2, a read error in a read-modify-write cycle is dropped, and the write says that
//! it succeeded.
//! Shape: unused.
//! Why: A `Result` is `must_use`; a workspace that denies this lint does not compile it.

#![deny(unused_must_use)]
use block_gs::BqlGuard;
use block_io::{Buffer, IoError, Root};
use ui_tests::{disk, in_main_loop, null};

async fn read_modify_write(root: &Root, buffer: &mut Buffer) -> Result<(), IoError> {
    root.read(0, buffer.destination()).await;
    //~^ "unused `Result` that must be used"
    buffer.as_mut_slice()[0] = 1;
    root.write(0, buffer.source()).await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let mut buffer = Buffer::zeroed(512);
        bql.block_on(read_modify_write(disk.root(), &mut buffer))?;
        Ok(())
    });
}
