//! Accept A2: I/O functions run on the main thread too, and under the BQL.
//! QEMU: I/O functions are called from anywhere; the BQL does not hurt.
//! Why: They take a request, and any thread can begin one.

use block_gs::BqlGuard;
use block_io::{Buffer, IoError, Root};
use ui_tests::{disk, in_main_loop, iothread, null};

async fn first_byte(root: Root) -> Result<u8, IoError> {
    let mut buffer = Buffer::zeroed(512);
    root.read(0, buffer.destination()).await?;
    Ok(buffer.as_slice()[0])
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let there = iothread(bql, "io0")
            .context()
            .spawn(first_byte(disk.root().clone()));
        let here = first_byte(disk.root().clone());
        assert_eq!(bql.block_on(here)?, bql.block_on(there)?);
        Ok(())
    });
}
