//! Twin of bad.rs: the error goes to the caller.

#![deny(unused_must_use)]
use block_gs::BqlGuard;
use block_io::{Buffer, IoError, Root};
use ui_tests::{disk, in_main_loop, null};

async fn read_modify_write(root: &Root, buffer: &mut Buffer) -> Result<(), IoError> {
    root.read(0, buffer.destination()).await?;
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
