//! Rule R14: A driver cannot write an I/O callback as if the main thread called it.
//! QEMU: V050, scsi_disk_emulate_command() -> blk_eject() -> bdrv_eject() ->
//! BlockDriver.bdrv_eject().
//! Shape: trait-object.
//! Why: The trait promises callers in any thread, who have a `Request` to pass and nothing else.

use block_gs::{BqlCell, BqlGuard};
use block_io::{IoError, Request, Root};
use std::{cell::Cell, sync::Arc};
use ui_tests::{disk, in_main_loop, iothread, null};

/// What drivers of removable media have besides.
trait Removable: Send + Sync {
    fn bdrv_eject(&self, request: Request<'_>, eject: bool);
}

struct HostCdrom {
    tray_open: BqlCell<Cell<bool>>,
}

impl Removable for HostCdrom {
    fn bdrv_eject(&self, bql: &BqlGuard, eject: bool) {
        //~^ E0053 "expected `block_io::Request<'_>`, found `&BqlGuard`"
        self.tray_open.get(bql).set(eject);
    }
}

fn bdrv_eject(driver: &dyn Removable, request: Request<'_>, eject: bool) {
    driver.bdrv_eject(request, eject);
}

struct ScsiCd {
    root: Root,
    driver: Arc<dyn Removable>,
}

impl ScsiCd {
    async fn blk_eject(&self, eject: bool) -> Result<(), IoError> {
        let in_flight = self.root.begin().await;
        bdrv_eject(&*self.driver, in_flight.request()?, eject);
        Ok(())
    }

    async fn scsi_disk_emulate_command(self, loej: bool) -> Result<(), IoError> {
        self.blk_eject(loej).await
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let tray_open = BqlCell::new(bql, Cell::new(false));
        let (root, driver) = (disk.root().clone(), Arc::new(HostCdrom { tray_open }));
        let cdrom = driver.clone();
        let command = ScsiCd { root, driver }.scsi_disk_emulate_command(true);
        let command = iothread(bql, "io0").context().spawn(command);
        bql.block_on(command)?;
        assert!(cdrom.tray_open.get(bql).get());
        Ok(())
    });
}
