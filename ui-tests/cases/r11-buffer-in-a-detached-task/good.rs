//! Twin of bad.rs: the task owns the buffer, and hands it back.

use block_gs::BqlGuard;
use block_io::{Buffer, IoError};
use ui_tests::{disk, in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let (disk, io0) = (disk(bql, "disk", &node), iothread(bql, "io0"));
        let root = disk.root().clone();
        let mut buffer = Buffer::zeroed(512);
        let read = async move {
            root.read(0, buffer.destination()).await?;
            Ok::<_, IoError>(buffer)
        };
        let buffer = bql.block_on(io0.context().spawn(read))?;
        assert_eq!(buffer.as_slice()[0], 0);
        Ok(())
    });
}
