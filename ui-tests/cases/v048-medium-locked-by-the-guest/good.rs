//! Twin of bad.rs: the callback is one of I/O, and what it sets an atomic.

use block_gs::{BlockDriver, BqlGuard, NodeBuilder};
use block_io::{Destination, DriverIo, IoError, IoFuture, Request, Root};
use std::{any::Any, sync::Arc, sync::atomic::AtomicBool, sync::atomic::Ordering::Relaxed};
use ui_tests::{SIZE, disk, in_main_loop, iothread};

struct HostCdrom {
    locked: AtomicBool,
}

impl HostCdrom {
    fn bdrv_lock_medium(&self, locked: bool) {
        self.locked.store(locked, Relaxed);
    }
}

fn bdrv_lock_medium(request: Request<'_>, locked: bool) {
    let driver: &dyn Any = request.node().driver();
    let cdrom: &HostCdrom = driver.downcast_ref().expect("a CD-ROM");
    cdrom.bdrv_lock_medium(locked);
}

async fn blk_lock_medium(root: &Root, locked: bool) -> Result<(), IoError> {
    bdrv_lock_medium(root.begin().await.request()?, locked);
    Ok(())
}

async fn scsi_disk_emulate_command(root: Root, prevent: u8) -> Result<(), IoError> {
    blk_lock_medium(&root, prevent & 1 != 0).await
}

impl DriverIo for HostCdrom {
    fn read<'r>(&'r self, _: Request<'r>, _at: u64, _into: Destination<'r>) -> IoFuture<'r> {
        IoFuture::failed(IoError::NotSupported)
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(SIZE))
    }
}

impl BlockDriver for HostCdrom {
    fn format_name(&self) -> &'static str {
        "host_cdrom"
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let locked = AtomicBool::new(false);
        let cdrom = Arc::new(HostCdrom { locked });
        let node = NodeBuilder::new("cdrom").open(bql, cdrom.clone())?;
        let disk = disk(bql, "disk", &node);
        let command = scsi_disk_emulate_command(disk.root().clone(), 1);
        let command = iothread(bql, "io0").context().spawn(command);
        bql.block_on(command)?;
        assert!(cdrom.locked.load(Relaxed));
        Ok(())
    });
}
