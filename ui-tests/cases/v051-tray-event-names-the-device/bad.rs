//! Rule R1: An event that is built in an iothread does not ask the main thread's tables for names.
//! QEMU: V051, scsi_disk_emulate_command() -> blk_eject() -> blk_get_attached_dev_id().
//! Shape: argument.
//! Why: Which device is attached is global state, read with a `&BqlGuard`; a bottom half has none.

use block_gs::{BqlCell, BqlGuard};
use block_io::{Root, aio::HomeThread};
use std::sync::mpsc;
use ui_tests::{disk, in_main_loop, iothread, null};

struct BlockBackend {
    root: Root,
    dev: BqlCell<Option<String>>,
}

impl BlockBackend {
    fn blk_get_attached_dev_id<'b>(&'b self, bql: &'b BqlGuard) -> &'b str {
        self.dev.get(bql).as_deref().unwrap_or_default()
    }

    fn blk_eject(&self, home: &HomeThread<'_>, eject: bool) -> String {
        let (device, thread) = (self.root.name(), home.context().name());
        let id = self.blk_get_attached_dev_id(home);
        //~^ E0308 "expected `&BqlGuard`, found `&HomeThread<'_>`"
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
        let dev = BqlCell::new(bql, Some("cd0".to_owned()));
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
