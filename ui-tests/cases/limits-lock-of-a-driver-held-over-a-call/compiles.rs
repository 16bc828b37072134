//! Limit: A driver may hold a lock of its own while it calls its child, which may want it too.
//! QEMU: a CoMutex of a format, held while its protocol is asked.
//! Why: The engine takes one lock at a time; what order drivers have is their own business.

use block_gs::{BlockDriver, BqlGuard, NodeBuilder, Role};
use block_io::{Buffer, Destination, DriverIo, IoError, IoFuture, Request};
use std::sync::{Arc, Mutex};
use ui_tests::{SIZE, disk, in_main_loop};

struct Locked(Arc<Mutex<()>>);

impl DriverIo for Locked {
    fn read<'r>(&'r self, request: Request<'r>, at: u64, into: Destination<'r>) -> IoFuture<'r> {
        // With `lock` the second one would wait for the first for ever.
        let Ok(_held) = self.0.try_lock() else {
            return IoFuture::failed(IoError::NotSupported);
        };
        request
            .file()
            .map_or_else(IoFuture::failed, |file| file.read(at, into))
    }

    fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(SIZE))
    }
}

impl BlockDriver for Locked {
    fn format_name(&self) -> &'static str {
        "locked"
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let lock = Arc::new(Mutex::new(()));
        let locked = || Arc::new(Locked(lock.clone()));
        let below = NodeBuilder::new("below").open(bql, locked())?;
        let above = NodeBuilder::new("above").child("file", &below, Role::IMAGE);
        let above = above.open(bql, locked())?;
        let mut buffer = Buffer::zeroed(512);
        let read = disk(bql, "disk", &above).read_blocking(bql, 0, buffer.destination());
        assert!(read.is_err());
        Ok(())
    });
}
