//! Twin of bad.rs: the driver takes the request, and needs nothing else.

use block_gs::BqlGuard;
use block_io::{IoError, Request, Root};
use std::sync::{Arc, atomic::AtomicBool, atomic::Ordering::Relaxed};
use ui_tests::{disk, in_main_loop, iothread, null};

/// What drivers of removable media have besides.
trait Removable: Send + Sync {
    fn bdrv_eject(&self, request: Request<'_>, eject: bool);
}

struct HostCdrom {
    tray_open: AtomicBool,
}

impl Removable for HostCdrom {
    fn bdrv_eject(&self, _request: Request<'_>, eject: bool) {
        self.tray_open.store(eject, Relaxed);
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
        let tray_open = AtomicBool::new(false);
        let (root, driver) = (disk.root().clone(), Arc::new(HostCdrom { tray_open }));
        let cdrom = driver.clone();
        let command = ScsiCd { root, driver }.scsi_disk_emulate_command(true);
        let command = iothread(bql, "io0").context().spawn(command);
        bql.block_on(command)?;
        assert!(cdrom.tray_open.load(Relaxed));
        Ok(())
    });
}
