//! Rule R1: A completion in an iothread does not read the error state that the BQL guards.
//! QEMU: V002, blk_error_action() -> send_qmp_error_event() -> blk_iostatus_is_enabled().
//! Shape: field.
//! Why: The field is a `BqlCell`; a bottom half of an iothread has no `&BqlGuard` to open it.

use block_gs::{BqlCell, BqlGuard};
use block_io::{IoError, Root, aio::HomeThread};
use std::{cell::Cell, sync::Arc, sync::mpsc};
use ui_tests::{disk, in_main_loop, iothread, null};

struct BlockBackend {
    root: Root,
    iostatus_enabled: BqlCell<Cell<bool>>,
}

impl BlockBackend {
    fn blk_iostatus_is_enabled(&self, home: &HomeThread<'_>) -> bool {
        self.iostatus_enabled.get(home).get()
        //~^ E0308 "expected `&BqlGuard`, found `&HomeThread<'_>`"
    }

    fn send_qmp_error_event(&self, home: &HomeThread<'_>, error: &IoError) -> String {
        let device = self.root.name();
        let stops = self.blk_iostatus_is_enabled(home);
        let thread = home.context().name();
        format!("{device} in {thread}: {error}, iostatus {stops}")
    }

    fn blk_error_action(&self, home: &HomeThread<'_>, error: &IoError) -> String {
        self.send_qmp_error_event(home, error)
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let blk = Arc::new(BlockBackend {
            root: disk.root().clone(),
            iostatus_enabled: BqlCell::new(bql, Cell::new(true)),
        });
        let (report, event) = mpsc::channel();
        let main = bql.main_loop();
        iothread(bql, "io0").context().schedule(move |home| {
            let event = blk.blk_error_action(home, &IoError::NoMedium);
            report.send(event).expect("a receiver");
            main.kick();
        });
        bql.poll_until(|_| event.try_recv().is_ok_and(|said| said.ends_with("true")));
        Ok(())
    });
}
