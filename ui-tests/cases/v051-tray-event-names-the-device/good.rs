//! Twin of bad.rs: the name is shared and does not change while the device is attached.

use block_gs::BqlGuard;
use block_io::{Root, aio::HomeThread};
use std::{sync::Arc, sync::mpsc};
use ui_tests::{disk, in_main_loop, iothread, null};

struct BlockBackend {
    root: Root,
    dev: Option<Arc<str>>,
}

impl BlockBackend {
    fn blk_get_attached_dev_id(&self) -> &str {
        self.dev.as_deref().unwrap_or_default()
    }

    fn blk_eject(&self, home: &HomeThread<'_>, eject: bool) -> String {
        let (device, thread) = (self.root.name(), home.context().name());
        let id = self.blk_get_attached_dev_id();
        format!("DEVICE_TRAY_MOVED {device} {id} {eject} {thread}")
    }
}

fn scsi_disk_emulate_command(blk: &BlockBackend, home: &HomeThread<'_>, loej: bool) -> String {
    blk.blk_eject(home, loej)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let root = disk.root().clone();
        let dev = Some("cd0".into());
        let (blk, main) = (BlockBackend { root, dev }, bql.main_loop());
        let (report, event) = mpsc::channel();
        iothread(bql, "io0").context().schedule(move |home| {
            let event = scsi_disk_emulate_command(&blk, home, true);
            report.send(event).expect("a receiver");
            main.kick();
        });
        let expected = "DEVICE_TRAY_MOVED disk cd0 true io0";
        bql.poll_until(|_| event.try_recv().as_deref() == Ok(expected));
        Ok(())
    });
}
