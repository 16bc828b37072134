//! Twin of bad.rs: the coroutine awaits.

use block_gs::{Backend, BqlGuard};
use block_io::Buffer;
use ui_tests::{Outcome, disk, in_main_loop, iothread, null};

async fn nbd_co_receive_one_chunk(backend: Backend) -> Outcome {
    let mut buffer = Buffer::zeroed(512);
    backend.root().read(0, buffer.destination()).await?;
    assert!(buffer.as_slice().iter().all(|&byte| byte == 0));
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let disk = disk(bql, "disk", &node);
        disk.set_iothread(bql, Some(&io0))?;
        bql.block_on(nbd_co_receive_one_chunk(disk.clone()))
    });
}
