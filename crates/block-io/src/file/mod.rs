//! I/O on a file or block device of the host, for drivers of protocols.
//!
//! **Here or there.** Reading what the page cache has takes the kernel about a
//! microsecond; handing the same read to an engine and coming back through the
//! event loop takes several. So, as far as [`Inline`] allows, a transfer is
//! tried on the spot with a system call that cannot wait for a disk, and only
//! what is left goes to the engine.
//!
//! **Dropped half way.** The kernel, or a worker, may go on with what a
//! request has begun when its future is dropped. Until it has ended its memory
//! stays out of reach, and the request's node is not idle: the operation keeps
//! a `Lingering` of the node.

mod guarded;
mod here;
mod patience;
#[cfg(all(test, not(block_loom)))]
mod tests;
mod transferring;

use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::aio::file::{FileOp, Outcome, Payload};
use crate::aio::{Engine, run_blocking};
use crate::{Destination, IoFuture, Request, Source};
use guarded::Guarded;
use transferring::{Data, Transferring};

/// The kernel transfers no more ranges at a time (`IOV_MAX`).
const MAX_SEGMENTS: usize = 1024;

/// The kernel transfers no more bytes at a time.
const MAX_BYTES: usize = 0x7fff_f000;

/// Which transfers of a file are tried on the spot, in the thread of the
/// request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Inline {
    /// None. For direct I/O, which always waits for the device.
    #[default]
    Never,
    /// Reads of what is in the page cache, and short writes that need not
    /// wait for anything (`RWF_NOWAIT`). All else goes to the engine, and
    /// what the file system cannot do in this way.
    NoWait,
    /// As `NoWait`; and where the file system cannot promise that a write does
    /// not wait, short writes all the same, as long as that takes no more than
    /// a small part of the thread's time. Only for file systems of this host
    /// whose page cache takes writes (ext4).
    Patient,
    /// All. Only for file systems that never wait for a disk (tmpfs).
    Always,
}

/// A file, and how transfers with it are carried out.
///
/// Offsets are in bytes; those beyond `i64::MAX` are `InvalidInput`. A system
/// call that a signal interrupts is repeated.
#[derive(Debug)]
pub struct FileIo {
    fd: Arc<OwnedFd>,
    inline: Inline,
    engine: Option<Engine>,
    max_chunk: Option<NonZeroUsize>,
    block: usize,
    /// The kernel cannot read this file without waiting, so asking again is
    /// of no use.
    no_wait_refused: AtomicBool,
    /// As that, for writes.
    no_wait_writes_refused: AtomicBool,
}

impl FileIo {
    /// Transfers with `fd` by the best engine of the context a request runs
    /// in, none on the spot.
    pub fn new(fd: Arc<OwnedFd>) -> Self {
        FileIo {
            fd,
            inline: Inline::default(),
            engine: None,
            max_chunk: None,
            block: 1,
            no_wait_refused: AtomicBool::new(false),
            no_wait_writes_refused: AtomicBool::new(false),
        }
    }

    /// Sets what is tried on the spot.
    #[must_use]
    pub fn inline(mut self, inline: Inline) -> Self {
        self.inline = inline;
        self
    }

    /// Sets who carries out the rest (`aio`). With `None` each request takes
    /// the best one of the context in which it runs.
    #[must_use]
    pub fn engine(mut self, engine: Option<Engine>) -> Self {
        self.engine = engine;
        self
    }

    /// Transfers at most so many bytes in one system call; 0 is taken for 1.
    /// To exercise transfers that come back short.
    #[must_use]
    pub fn chunk(mut self, bytes: Option<usize>) -> Self {
        self.max_chunk = bytes.map(|bytes| NonZeroUsize::new(bytes).unwrap_or(NonZeroUsize::MIN));
        self
    }

    /// The kernel transfers whole blocks of so many bytes (`O_DIRECT`). A read
    /// that ends inside one has met the end of the file; where it ended, some
    /// file systems refuse to read on.
    #[must_use]
    pub fn block(mut self, bytes: u32) -> Self {
        self.block = bytes.max(1) as usize;
        self
    }

    /// The file.
    pub fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// Fills `into` from `offset` on; what lies beyond the end of the file
    /// reads as zeroes. Done at once, for no more than the system call, if
    /// [`Inline`] allows it and the data is there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read<'r>(
        &'r self,
        request: Request<'r>,
        mut offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        if let Some(result) = self.read_here(&mut offset, &mut into) {
            return IoFuture::ready(result);
        }
        IoFuture::new(Transferring::new(self, request, offset, Data::In(into)))
    }

    /// Writes all of `from` at `offset`; if `durable`, the future is done when
    /// the data would survive a crash (`FUA`).
    ///
    /// # Errors
    /// The kernel's; [`IoError::Os`](crate::IoError) with `WriteZero` when it takes nothing.
    pub fn write<'r>(
        &'r self,
        request: Request<'r>,
        mut offset: u64,
        mut from: Source<'r>,
        durable: bool,
    ) -> IoFuture<'r> {
        if let Some(result) = self.write_here(&mut offset, &mut from, durable) {
            return IoFuture::ready(result);
        }
        let data = Data::Out { from, durable };
        IoFuture::new(Transferring::new(self, request, offset, data))
    }

    /// Makes what was written before durable: data and what is needed to read
    /// it back if `data_only` (`fdatasync`), else all metadata too (`fsync`).
    ///
    /// # Errors
    /// The kernel's: earlier writes may be lost.
    pub fn sync<'r>(&'r self, request: Request<'r>, data_only: bool) -> IoFuture<'r> {
        let fd = Arc::clone(&self.fd);
        let op = FileOp::new(self.engine_here(), fd, Payload::Sync { data_only }, 0);
        IoFuture::new(Guarded::new(request, None, op, |outcome: Outcome| {
            Ok(outcome.result.map(drop)?)
        }))
    }

    /// Runs `work` on a worker thread. Whether the future is dropped or not,
    /// the request's node is not idle before `work` has ended. `changes` are
    /// the bytes of the node that it changes, if any.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn blocking<'r, T: Send + 'static>(
        &'r self,
        request: Request<'r>,
        changes: Option<Range<u64>>,
        work: impl FnOnce(&OwnedFd) -> io::Result<T> + Send + 'static,
    ) -> IoFuture<'r, T> {
        let fd = Arc::clone(&self.fd);
        let work = run_blocking(move || work(&fd));
        IoFuture::new(Guarded::new(request, changes, work, |done| Ok(done?)))
    }

    /// As [`blocking`](FileIo::blocking), for work that changes `changes` to
    /// what it reads from `range` of the node of `source`. That node is not
    /// idle either before the work has ended, and when the future is dropped
    /// later changes of what is read wait.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn copying<'r, T: Send + 'static>(
        &'r self,
        request: Request<'r>,
        changes: Range<u64>,
        source: Request<'r>,
        range: Range<u64>,
        work: impl FnOnce(&OwnedFd) -> io::Result<T> + Send + 'static,
    ) -> IoFuture<'r, T> {
        let fd = Arc::clone(&self.fd);
        let work = run_blocking(move || work(&fd));
        let guarded = Guarded::new(request, Some(changes), work, |done| Ok(done?));
        IoFuture::new(guarded.reading(source, range))
    }

    fn engine_here(&self) -> Engine {
        self.engine.unwrap_or_else(Engine::best)
    }

    fn max_bytes(&self) -> usize {
        self.max_chunk.map_or(MAX_BYTES, |chunk| {
            let whole_blocks = chunk.get().checked_next_multiple_of(self.block);
            whole_blocks.unwrap_or(MAX_BYTES).min(MAX_BYTES)
        })
    }
}
