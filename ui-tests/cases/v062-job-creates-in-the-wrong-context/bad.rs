//! Rule R9: A job of the main loop does not run what is for the home thread of its node.
//! QEMU: V062, qmp_blockdev_create() -> a job in the main context -> blockdev_create_run() ->
//! BlockDriver.bdrv_co_create().
//! Shape: trait-object.
//! Why: The callback takes a `HomeThread`, which the main loop's proof is not. Whose home it is, is
//! checked when it waits: see limits-create-job-of-another-context.

use block_gs::{Backend, BqlGuard, WaitError};
use block_io::{Buffer, aio::HomeThread};
use std::sync::{Arc, mpsc};
use ui_tests::{disk, in_main_loop, iothread, null};

trait CreateDriver: Send + Sync {
    fn bdrv_co_create(&self, home: &mut HomeThread<'_>, file: &Backend) -> Result<(), WaitError>;
}

struct Qcow2;

impl CreateDriver for Qcow2 {
    fn bdrv_co_create(&self, home: &mut HomeThread<'_>, file: &Backend) -> Result<(), WaitError> {
        let header = Buffer::zeroed(512);
        file.write_blocking(home, 0, header.source())?;
        file.flush_blocking(home)
    }
}

type Reply = mpsc::Sender<bool>;

fn blockdev_create_run(
    bql: &mut BqlGuard,
    driver: Arc<dyn CreateDriver>,
    file: Backend,
    reply: Reply,
) {
    let created = driver.bdrv_co_create(bql, &file);
    //~^ E0308 "expected `&mut HomeThread<'_>`, found `&mut BqlGuard`"
    reply.send(created.is_ok()).expect("a receiver");
}

fn qmp_blockdev_create(bql: &mut BqlGuard, file: Backend) {
    let (reply, created) = mpsc::channel();
    let job = bql.main_loop();
    job.schedule(move |bql| blockdev_create_run(bql, Arc::new(Qcow2), file, reply));
    bql.poll_until(|_| created.try_recv() == Ok(true));
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let file = disk(bql, "file", &node);
        file.set_iothread(bql, Some(&io0))?;
        qmp_blockdev_create(bql, file);
        Ok(())
    });
}
