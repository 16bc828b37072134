//! A filter that spoils one byte: the proof that the tour would notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use block_gs::{BlockDriver, BqlGuard, GraphError, Node, NodeBuilder, Role};
use block_io::{Buffer, Destination, DriverIo, IoFuture, Request, Source, WriteFlags};

/// Which read is spoilt.
const VICTIM: u64 = 25;

/// Hands everything on, and flips one bit of what one read finds.
struct Spoiler {
    reads: AtomicU64,
}

/// Opens one over `file`.
pub fn open(bql: &mut BqlGuard, name: &str, file: &Node) -> Result<Node, GraphError> {
    let driver = Arc::new(Spoiler {
        reads: AtomicU64::new(0),
    });
    NodeBuilder::new(name)
        .child("file", file, Role::FILTERED | Role::PRIMARY)
        .open(bql, driver)
}

impl DriverIo for Spoiler {
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        let is_victim = self.reads.fetch_add(1, Ordering::Relaxed) + 1 == VICTIM;
        let file = match request.file() {
            Ok(file) => file,
            Err(error) => return IoFuture::failed(error),
        };
        if !is_victim {
            return file.read(offset, into);
        }
        IoFuture::new(async move {
            let mut buffer = Buffer::zeroed(into.len());
            file.read(offset, buffer.destination()).await?;
            let bytes = buffer.as_mut_slice();
            if let Some(byte) = bytes.get_mut(into.len() / 2) {
                *byte ^= 0x10;
            }
            into.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        match request.file() {
            Ok(file) => file.write_with(offset, from, flags),
            Err(error) => IoFuture::failed(error),
        }
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(request.file().map(|file| file.node().length()))
    }
}

impl BlockDriver for Spoiler {
    fn format_name(&self) -> &'static str {
        "spoiler"
    }

    fn is_filter(&self) -> bool {
        true
    }
}
