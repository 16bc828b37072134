//! Twin of bad.rs: the job hands the callback to the context of the node.

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
    let main = bql.main_loop();
    file.root().context().schedule(move |home| {
        let created = driver.bdrv_co_create(home, &file);
        reply.send(created.is_ok()).expect("a receiver");
        main.kick();
    });
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
