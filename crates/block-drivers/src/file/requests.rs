//! What requests do with a file.
//!
//! Reads of what is in the page cache are done on the spot, short writes that
//! are not likely to wait for the disk, and everything on a file system in
//! memory; see [`Inline`]. All other transfers go to an engine, and system
//! calls that may wait for a disk to worker threads.

use std::any::Any;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use block_common::error::errno;
use block_io::aio::Engine;
use block_io::file::{FileIo, Inline};
use block_io::{
    BlockStatus, Buffer, Capabilities, CopyEnd, Destination, DriverInfo, DriverIo, IoError,
    IoFuture, Request, ScsiCommand, ScsiReply, Source, Truncation, WriteFlags,
};
use rustix::fs::{Advice, SeekFrom};

use super::opened::Opened;
use super::probe::{Geometry, Kind, Medium};
use super::space::{self, Extent, Progress, ZeroMode};
use super::{File, Protocol};

/// What takes less than a worker thread costs: so many bytes of memory.
const SHORT: u64 = 256 << 10;

/// Waits until the disk has what was written to the file. If the kernel has lost
/// something of it, that is noted: the next one would not hear of it.
fn write_out(fd: &OwnedFd, lost: &OnceLock<i32>) -> io::Result<()> {
    let synced = rustix::fs::fdatasync(fd);
    synced.map_err(|error| {
        lost.get_or_init(|| error.raw_os_error());
        error.into()
    })
}

/// Notes that the kernel has lost what was written before.
fn noting_loss(lost: &OnceLock<i32>, error: IoError) -> IoError {
    lost.get_or_init(|| error.errno());
    error
}

/// Somebody still waits for a long operation. When nobody does it ends early.
struct Wanted(Arc<Progress>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Ways of zeroing that the file system does not have: trying them again
/// would cost a system call each time.
#[derive(Debug, Default)]
pub(super) struct Refused {
    giving_back: AtomicBool,
    keeping: AtomicBool,
}

impl Refused {
    fn way(&self, flags: WriteFlags) -> &AtomicBool {
        match flags.contains(WriteFlags::MAY_UNMAP) {
            true => &self.giving_back,
            false => &self.keeping,
        }
    }
}

/// What the user said about transfers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct How {
    /// Who carries them out.
    pub(super) engine: Option<Engine>,
    /// At most so many bytes at a time.
    pub(super) chunk: Option<usize>,
}

/// How transfers with a descriptor are carried out.
pub(super) fn file_io(fd: OwnedFd, geometry: &Geometry, how: How) -> FileIo {
    let inline = match geometry.medium {
        _ if is_direct(geometry) => Inline::Never,
        Medium::Memory => Inline::Always,
        Medium::Disk if geometry.quick_writes => Inline::Patient,
        Medium::Network | Medium::Disk => Inline::NoWait,
    };
    FileIo::new(Arc::new(fd))
        .engine(how.engine)
        .chunk(how.chunk)
        .inline(inline)
        .block(geometry.request_alignment)
}

pub(super) fn is_direct(geometry: &Geometry) -> bool {
    geometry.request_alignment > 1 || geometry.memory_alignment > 1
}

impl File {
    /// What the memory of a transfer has to be aligned to, in address and
    /// length.
    fn memory_alignment(opened: &Opened) -> usize {
        let Geometry {
            request_alignment,
            memory_alignment,
            ..
        } = opened.geometry;
        request_alignment.max(memory_alignment) as usize
    }

    /// Whether a system call for `range` neither waits for a disk nor takes
    /// long.
    fn is_done_here(&self, range: Option<&Range<u64>>) -> bool {
        let is_short = |range: &Range<u64>| range.end - range.start <= SHORT;
        self.medium == Medium::Memory && range.is_none_or(is_short)
    }

    /// Runs a system call that may wait for a disk, which changes `range` if
    /// that is given. In memory it does not wait, and what is short is done on
    /// the spot.
    fn call<'r, T: Send + 'static>(
        &'r self,
        request: Request<'r>,
        range: Option<Range<u64>>,
        work: impl FnOnce(&OwnedFd) -> Result<T, IoError> + Send + 'static,
    ) -> IoFuture<'r, T> {
        if self.is_done_here(range.as_ref()) {
            return IoFuture::ready(work(self.opened(request).io().fd()));
        }
        let io = self.opened(request).io();
        IoFuture::new(async move { io.blocking(request, range, move |fd| Ok(work(fd))).await? })
    }
}

impl DriverIo for File {
    /// Buffered writes are made durable by a flush: to wait for the disk with
    /// the write would take, and forget, the kernel's report about others.
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            write_flags: if self.durable_writes {
                WriteFlags::FUA
            } else {
                WriteFlags::empty()
            },
            zero_flags: Some(WriteFlags::MAY_UNMAP | WriteFlags::NO_FALLBACK),
            discards: true,
            flushes_to_disk: !self.scsi_generic,
            variable_length: true,
            truncates_to_zeroes: self.kind == Kind::Regular,
            ..Capabilities::default()
        }
    }

    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        let opened = self.opened(request);
        let alignment = Self::memory_alignment(opened);
        if alignment == 1 || into.is_aligned(alignment) {
            return opened.io().read(request, offset, into);
        }
        IoFuture::new(async move {
            let mut bounce = Buffer::with_alignment(into.len(), alignment);
            let aligned = bounce.destination();
            opened.io().read(request, offset, aligned).await?;
            into.copy_from(bounce.source());
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
        let durable = flags.contains(WriteFlags::FUA);
        let opened = self.opened(request);
        if durable && !opened.is_direct() {
            // Offered when the page cache was bypassed still.
            return IoFuture::new(async move {
                opened.io().write(request, offset, from, false).await?;
                self.flush_to_disk(request).await
            });
        }
        let alignment = Self::memory_alignment(opened);
        if alignment == 1 || from.is_aligned(alignment) {
            return opened.io().write(request, offset, from, durable);
        }
        IoFuture::new(async move {
            let mut bounce = Buffer::with_alignment(from.len(), alignment);
            bounce.destination().copy_from(from);
            let aligned = bounce.source();
            opened.io().write(request, offset, aligned, durable).await
        })
    }

    fn write_zeroes<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let refused = self.refused.way(flags);
        if refused.load(Ordering::Relaxed) {
            return IoFuture::failed(IoError::NotSupported);
        }
        let kind = self.kind;
        let mode = ZeroMode {
            unmap: flags.contains(WriteFlags::MAY_UNMAP),
            slow: !flags.contains(WriteFlags::NO_FALLBACK),
        };
        let range = offset..offset + bytes;
        let zeroed = self.call(request, Some(range), move |fd| {
            space::zero_range(fd, kind, offset, bytes, mode)
        });
        if !mode.slow || kind == Kind::BlockDevice {
            // A refusal says nothing about other modes and ranges.
            return zeroed;
        }
        IoFuture::new(async move {
            let outcome = zeroed.await;
            if matches!(outcome, Err(IoError::NotSupported)) {
                refused.store(true, Ordering::Relaxed);
            }
            outcome
        })
    }

    fn discard<'r>(&'r self, request: Request<'r>, offset: u64, bytes: u64) -> IoFuture<'r> {
        let kind = self.kind;
        let range = offset..offset + bytes;
        self.call(request, Some(range), move |fd| {
            space::punch_hole(fd, kind, offset, bytes)
        })
    }

    /// Holes read as zeroes. To look for them may take the file system a
    /// while.
    fn block_status<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        let stored = move |status: BlockStatus<'r>| status.stored_at(request.node(), offset);
        if !precise {
            return IoFuture::ready(Ok(stored(BlockStatus::data(bytes))));
        }
        let found = self.call(request, None, move |fd| {
            // All of it: data is remembered, and asked for once.
            Ok(space::allocation(fd, offset, u64::MAX))
        });
        let status = move |found| match found {
            Extent::Data(bytes) => stored(BlockStatus::data(bytes)),
            Extent::Hole(bytes) => stored(BlockStatus::zero(bytes)),
            // It was longer a moment ago; what is not there reads so.
            Extent::Beyond => stored(BlockStatus::zero(bytes)),
        };
        match found.into_ready() {
            Ok(found) => IoFuture::ready(found.map(status)),
            Err(running) => IoFuture::new(async move { Ok(status(running.await?)) }),
        }
    }

    /// The layer keeps writes beyond the old end out meanwhile.
    fn truncate<'r>(&'r self, request: Request<'r>, to: Truncation) -> IoFuture<'r> {
        let kind = self.kind;
        let Truncation {
            length,
            exact,
            preallocation,
            ..
        } = to;
        let old = request.node().length();
        // Whatever comes later and ends beyond has to do with the new end.
        let range = old.min(length)..u64::MAX;
        let lost = Arc::clone(&self.lost);
        let progress = Arc::new(Progress::default());
        let wanted = Wanted(Arc::clone(&progress));
        let resized = self.call(request, Some(range), move |fd| {
            space::set_length(fd, kind, length, exact, preallocation, &progress).map_err(|error| {
                let refused = IoError::refused(error.errno(), error.to_string());
                match error.errno() {
                    // The data is written, and made durable: see the flush.
                    errno::EIO => noting_loss(&lost, refused),
                    _ => refused,
                }
            })
        });
        IoFuture::new(async move {
            let _wanted = wanted;
            resized.await
        })
    }

    fn copy_range_from<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        to: CopyEnd<'r>,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let from = CopyEnd { request, offset };
        to.request.copy_range_to(to.offset, from, bytes, flags)
    }

    fn copy_range_to<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: CopyEnd<'r>,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let source: &dyn Any = from.request.node().driver();
        let Some(source) = source.downcast_ref::<File>() else {
            return IoFuture::failed(IoError::NotSupported);
        };
        let source = Arc::clone(source.opened(from.request).io().fd());
        let durable = flags.contains(WriteFlags::FUA);
        let lost = Arc::clone(&self.lost);
        let start = from.offset;
        let work = move |fd: &OwnedFd| -> Result<(), IoError> {
            space::copy_range(source.as_fd(), start, fd, offset, bytes)?;
            if durable {
                write_out(fd, &lost)?;
            }
            Ok(())
        };
        let io = self.opened(request).io();
        let range = offset..offset + bytes;
        if self.is_done_here(Some(&range)) {
            return IoFuture::ready(work(io.fd()));
        }
        let read = start..start + bytes;
        let from = from.request;
        let work = move |fd: &OwnedFd| Ok(work(fd));
        IoFuture::new(async move { io.copying(request, range, from, read, work).await? })
    }

    /// Once the kernel has failed to write something out it may have dropped
    /// it, and the next attempt would succeed without it: it says so once. So
    /// a file that has lost data says so until it is closed. That is noted
    /// where the answer is had, in case nobody waits for it any more. (Direct
    /// writes report their own failure.)
    fn flush_to_disk<'r>(&'r self, request: Request<'r>) -> IoFuture<'r> {
        if let Some(&errno) = self.lost.get() {
            return IoFuture::failed(IoError::from_errno(errno));
        }
        let opened = self.opened(request);
        if opened.is_direct() {
            return opened.io().sync(request, true);
        }
        let lost = Arc::clone(&self.lost);
        self.call(request, None, move |fd| Ok(write_out(fd, &lost)?))
    }

    /// Nothing but that it is open.
    fn info<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, DriverInfo> {
        IoFuture::ready(Ok(DriverInfo::default()))
    }

    /// What the file system counts, in units of 512 bytes whatever its blocks
    /// are.
    fn allocated_size<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        let counted =
            rustix::fs::fstat(self.opened(request).io().fd().as_fd()).map_err(io::Error::from);
        IoFuture::ready(match counted {
            Ok(stat) => Ok(u64::try_from(stat.st_blocks).unwrap_or(0) * 512),
            Err(error) => Err(error.into()),
        })
    }

    /// Lets the host forget what it keeps of the file, which another process
    /// may have changed. Only what is written out can be forgotten.
    fn invalidate_cache<'r>(&'r self, request: Request<'r>) -> IoFuture<'r> {
        if self.opened(request).is_direct() {
            return IoFuture::done();
        }
        let said = |what: &'static str| {
            move |error: io::Error| {
                let errno = IoError::from(error).errno();
                IoError::refused(
                    errno,
                    format!("{what} failed: {}", IoError::from_errno(errno)),
                )
            }
        };
        let lost = Arc::clone(&self.lost);
        self.call(request, None, move |fd| {
            write_out(fd, &lost).map_err(said("flush"))?;
            let forgotten = rustix::fs::fadvise(fd, 0, None, Advice::DontNeed);
            forgotten.map_err(|error| said("fadvise")(error.into()))
        })
    }

    /// Takes the name away that the file was opened by. Who has it open has
    /// it still.
    fn delete_file<'r>(&'r self, request: Request<'r>) -> IoFuture<'r> {
        if self.protocol != Protocol::File {
            return IoFuture::failed(IoError::NotSupported);
        }
        let path = self.path.clone();
        self.call(request, None, move |_| {
            let name = path.display();
            let refused = |text: String, error: IoError| {
                Err(IoError::refused(error.errno(), format!("{text}: {error}")))
            };
            if !fs::metadata(&path).is_ok_and(|found| found.is_file()) {
                let text = format!("{name} is not a regular file");
                return refused(text, IoError::from_errno(errno::ENOENT));
            }
            match fs::remove_file(&path) {
                Ok(()) => Ok(()),
                Err(error) => refused(format!("Error when deleting file {name}"), error.into()),
            }
        })
    }

    /// A regular file has no such language.
    fn scsi<'r>(&'r self, request: Request<'r>, command: ScsiCommand) -> IoFuture<'r, ScsiReply> {
        if self.kind == Kind::Regular {
            return IoFuture::failed(IoError::NotSupported);
        }
        self.opened(request)
            .io()
            .blocking(request, None, move |fd| {
                block_io::block_ioctl::scsi(fd, command)
            })
    }

    /// Where the end is, for devices too, but for those that take commands
    /// only: they have none. Transfers say where they go, so moving the file's
    /// own position disturbs none.
    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        if self.scsi_generic {
            return IoFuture::ready(Ok(0));
        }
        let end = rustix::fs::seek(self.opened(request).io().fd().as_fd(), SeekFrom::End(0));
        IoFuture::ready(end.map_err(|error| io::Error::from(error).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that wait for the disk go through here: a copy that is to be durable,
    /// a flush, and what makes the host forget.
    #[test]
    fn what_the_kernel_has_lost_is_remembered() {
        let lost = OnceLock::new();
        let file = tempfile::tempfile().expect("a file");
        write_out(&file.into(), &lost).expect("a disk takes it");
        assert_eq!(lost.get(), None);
        // There is no disk behind a pipe.
        let (_reader, writer) = io::pipe().expect("a pipe");
        let failed = write_out(&writer.into(), &lost).expect_err("nowhere to go");
        assert_eq!(lost.get().copied(), failed.raw_os_error());
        assert_eq!(failed.raw_os_error(), Some(errno::EINVAL));
    }
}
