//! Rule R1: A guest does not reach a global-state callback of the driver, three levels down.
//! QEMU: V048, scsi_disk_emulate_command() -> blk_lock_medium() -> bdrv_lock_medium() ->
//! BlockDriver.bdrv_lock_medium().
//! Shape: trait-object.
//! Why: Behind the object is the whole driver, but its callback takes a `&BqlGuard` all the same.

use block_gs::{BlockDriver, BqlCell, BqlGuard, NodeBuilder};
use block_io::{Destination, DriverIo, IoError, IoFuture, Request, Root};
use std::{any::Any, cell::Cell, sync::Arc};
use ui_tests::{SIZE, disk, in_main_loop, iothread};

struct HostCdrom {
    locked: BqlCell<Cell<bool>>,
}

impl HostCdrom {
    fn bdrv_lock_medium(&self, bql: &BqlGuard, locked: bool) {
        self.locked.get(bql).set(locked);
    }
}

fn bdrv_lock_medium(request: Request<'_>, locked: bool) {
    let driver: &dyn Any = request.node().driver();
    let cdrom: &HostCdrom = driver.downcast_ref().expect("a CD-ROM");
    cdrom.bdrv_lock_medium(locked);
    //~^ E0061 "argument #1 of type `&BqlGuard` is missing"
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
        let locked = BqlCell::new(bql, Cell::new(false));
        let cdrom = Arc::new(HostCdrom { locked });
        let node = NodeBuilder::new("cdrom").open(bql, cdrom.clone())?;
        let disk = disk(bql, "disk", &node);
        let command = scsi_disk_emulate_command(disk.root().clone(), 1);
        let command = iothread(bql, "io0").context().spawn(command);
        bql.block_on(command)?;
        assert!(cdrom.locked.get(bql).get());
        Ok(())
    });
}
