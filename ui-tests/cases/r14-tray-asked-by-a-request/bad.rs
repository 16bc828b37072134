//! Rule R14: A request asks of a device what any thread may, and not what the main loop may.
//! QEMU: None recorded. blk_is_available() asks whether the tray is open, and the callback for
//! whether it is locked, of the main thread, stands beside it in the same table.
//! Shape: trait-object.
//! Why: I/O code finds the device as `DeviceIo`; that it is locked is asked with a `&BqlGuard`.

use block_gs::{Backend, BqlGuard, DeviceOps, RemovableOps};
use block_io::{DeviceIdentity, DeviceIo};
use std::sync::{Arc, atomic::AtomicBool, atomic::Ordering::Relaxed};
use ui_tests::{disk, in_main_loop, iothread, null};

#[derive(Default)]
struct Cdrom {
    open: AtomicBool,
}

impl DeviceIo for Cdrom {
    fn is_tray_open(&self) -> Option<bool> {
        Some(self.open.load(Relaxed))
    }
}

impl DeviceOps for Cdrom {
    fn removable(&self) -> Option<&dyn RemovableOps> {
        Some(self)
    }
}

impl RemovableOps for Cdrom {
    fn change_media(&self, _bql: &mut BqlGuard, load: bool) -> Result<(), block_gs::GraphError> {
        self.open.store(!load, Relaxed);
        Ok(())
    }
}

async fn start_stop_unit(blk: Backend) -> bool {
    blk.root().is_tray_open() && !blk.is_medium_locked()
    //~^ E0061 "argument #1 of type `&BqlGuard` is missing"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let cdrom = Arc::new(Cdrom::default());
        let attached = disk.attach_device(bql, DeviceIdentity::default(), cdrom)?;
        disk.change_media(bql, false)?;
        let command = start_stop_unit(disk.clone());
        let command = iothread(bql, "io0").context().spawn(command);
        assert!(bql.block_on(command));
        attached.detach(bql);
        Ok(())
    });
}
