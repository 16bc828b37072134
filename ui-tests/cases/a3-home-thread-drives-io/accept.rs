//! Accept A3: The thread at home in a backend's context drives its I/O to the end as well.
//! QEMU: IO_OR_GS_CODE() functions in the home thread.
//! Why: `HomeThread` is the other proof behind `MainOrHome`.

use block_gs::{Backend, BqlGuard, MainOrHome, WaitError};
use block_io::Buffer;
use std::sync::mpsc;
use ui_tests::{SIZE, disk, in_main_loop, iothread, null};

fn write_and_flush(at: &mut impl MainOrHome, disk: &Backend) -> Result<u64, WaitError> {
    disk.write_blocking(at, 0, Buffer::zeroed(512).source())?;
    disk.flush_blocking(at)?;
    disk.length_blocking(at)
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let disk = disk(bql, "disk", &node);
        disk.set_iothread(bql, Some(&io0))?;
        let ((report, done), there) = (mpsc::channel(), disk.clone());
        io0.context().schedule(move |home| {
            report
                .send(write_and_flush(home, &there))
                .expect("a receiver");
        });
        assert_eq!(done.recv()??, SIZE);
        assert_eq!(write_and_flush(bql, &disk)?, SIZE);
        Ok(())
    });
}
