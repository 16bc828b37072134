//! Twin of bad.rs: the root keeps it in an atomic.

use block_gs::BqlGuard;
use block_io::{IoError, Root, aio::HomeThread};
use std::{sync::Arc, sync::mpsc};
use ui_tests::{disk, in_main_loop, iothread, null};

struct BlockBackend {
    root: Root,
}

impl BlockBackend {
    fn blk_iostatus_is_enabled(&self) -> bool {
        self.root.keeps_io_status()
    }

    fn send_qmp_error_event(&self, home: &HomeThread<'_>, error: &IoError) -> String {
        let device = self.root.name();
        let stops = self.blk_iostatus_is_enabled();
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
        });
        blk.root.enable_io_status();
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
