//! Rule R11: A driver does not keep a request.
//! QEMU: None recorded. A BdrvChild can be kept in `bs->opaque`.
//! Shape: field.
//! Why: A driver lives longer than any request; the compiler asks for `'static`.

use block_gs::{BlockDriver, BqlGuard, NodeBuilder, Role};
use block_io::{Buffer, Destination, DriverIo, IoFuture, Request};
use std::sync::{Arc, Mutex};
use ui_tests::{disk, in_main_loop, null};

#[derive(Default)]
struct Cache {
    last: Mutex<Option<Request<'static>>>,
}

impl DriverIo for Cache {
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        let mut last = self.last.lock().expect("no panic");
        //~^ E0521 "borrowed data escapes outside of method"
        *last = Some(request);
        request
            .file()
            .map_or_else(IoFuture::failed, |file| file.read(offset, into))
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(request.file().map(|file| file.node().length()))
    }
}

impl BlockDriver for Cache {
    fn format_name(&self) -> &'static str {
        "cache"
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (file, driver) = (null(bql, "file"), Arc::new(Cache::default()));
        let cache = NodeBuilder::new("cache").child("file", &file, Role::IMAGE);
        let node = cache.open(bql, driver.clone())?;
        let mut buffer = Buffer::zeroed(512);
        disk(bql, "disk", &node).read_blocking(bql, 0, buffer.destination())?;
        assert!(driver.last.lock().expect("no panic").is_some());
        Ok(())
    });
}
