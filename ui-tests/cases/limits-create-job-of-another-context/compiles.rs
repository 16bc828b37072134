//! Limit: A job in a home thread may be handed a node that is at home elsewhere; it is refused.
//! QEMU: V062, blockdev_create_run() in the main context, its node in an iothread.
//! Why: Nodes move, so no type names their home. The first wait compares, and returns an error.

use block_gs::{Backend, BqlGuard, WaitError};
use block_io::{Buffer, aio::HomeThread};
use std::sync::mpsc;
use ui_tests::{disk, in_main_loop, iothread, null};

fn bdrv_co_create(home: &mut HomeThread<'_>, file: &Backend) -> Result<(), WaitError> {
    let header = Buffer::zeroed(512);
    file.write_blocking(home, 0, header.source())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let (file, main) = (disk(bql, "file", &node), bql.main_loop());
        file.set_iothread(bql, Some(&io0))?;
        let (reply, refused) = mpsc::channel();
        let blockdev_create_run = move |home: &mut HomeThread<'_>| {
            let created = bdrv_co_create(home, &file);
            let refused = matches!(created, Err(WaitError::WrongThread { .. }));
            reply.send(refused).expect("a receiver");
            main.kick();
        };
        let job = iothread(bql, "io1");
        job.context().schedule(blockdev_create_run);
        bql.poll_until(|_| refused.try_recv() == Ok(true));
        Ok(())
    });
}
