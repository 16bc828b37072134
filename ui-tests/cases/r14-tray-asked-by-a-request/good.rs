//! Twin of bad.rs: the main loop says whether it is locked.

use block_gs::{Backend, BqlGuard, DeviceOps, MainLoop, RemovableOps};
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

async fn start_stop_unit(blk: Backend, main: MainLoop) -> bool {
    let disk = blk.clone();
    let locked = main.call(move |bql| disk.is_medium_locked(bql)).await;
    blk.root().is_tray_open() && locked == Ok(false)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let cdrom = Arc::new(Cdrom::default());
        let attached = disk.attach_device(bql, DeviceIdentity::default(), cdrom)?;
        disk.change_media(bql, false)?;
        let command = start_stop_unit(disk.clone(), bql.main_loop());
        let command = iothread(bql, "io0").context().spawn(command);
        assert!(bql.block_on(command));
        attached.detach(bql);
        Ok(())
    });
}
