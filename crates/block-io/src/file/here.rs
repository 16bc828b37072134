//! Transfers on the spot, by system calls that do not wait for a disk.

use std::io::{self, IoSliceMut};
use std::sync::atomic::Ordering;

use block_common::IoError;
use rustix::io::{Errno, ReadWriteFlags};

use super::{FileIo, Inline, MAX_SEGMENTS};
use crate::{Destination, Source, turn};

impl FileIo {
    /// Reads what can be had without waiting. `None` if something is left, of
    /// which `offset` and `into` then say what.
    pub(super) fn read_here(
        &self,
        offset: &mut u64,
        into: &mut Destination<'_>,
    ) -> Option<Result<(), IoError>> {
        match self.inline {
            Inline::Never => return None,
            Inline::NoWait if self.no_wait_refused.load(Ordering::Relaxed) => return None,
            Inline::NoWait | Inline::Always => {}
        }
        while !into.is_empty() {
            // As an offset, -1 would mean "at the file's own position".
            if i64::try_from(*offset).is_err() {
                return Some(Err(io::Error::from(io::ErrorKind::InvalidInput).into()));
            }
            match self.read_once_here(*offset, into) {
                // Some kernels say 0 also when the first page is not cached.
                Ok(0) if self.inline == Inline::NoWait => return None,
                Ok(0) => {
                    into.fill(0);
                    break;
                }
                Ok(bytes) => {
                    turn::charge(bytes);
                    if bytes == into.len() {
                        break;
                    }
                    *offset += bytes as u64;
                    into.advance(bytes);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.inline == Inline::NoWait => return None,
                Err(Errno::OPNOTSUPP | Errno::NOSYS) if self.inline == Inline::NoWait => {
                    self.no_wait_refused.store(true, Ordering::Relaxed);
                    return None;
                }
                Err(error) => return Some(Err(io::Error::from(error).into())),
            }
        }
        Some(Ok(()))
    }

    fn read_once_here(&self, offset: u64, into: &mut Destination<'_>) -> rustix::io::Result<usize> {
        let fd = &*self.fd;
        let flags = match self.inline {
            Inline::NoWait => ReadWriteFlags::NOWAIT,
            Inline::Never | Inline::Always => ReadWriteFlags::empty(),
        };
        let max = self.max_bytes();
        if let Some(bytes) = into.as_contiguous_mut() {
            let len = bytes.len().min(max);
            let bytes = &mut bytes[..len];
            if flags.is_empty() {
                return rustix::io::pread(fd, bytes, offset);
            }
            return rustix::io::preadv2(fd, &mut [IoSliceMut::new(bytes)], offset, flags);
        }
        let mut slices = into.io_slices(max, MAX_SEGMENTS);
        rustix::io::preadv2(fd, &mut slices, offset, flags)
    }

    /// Writes what can be written without waiting. `None` if something is
    /// left, of which `offset` and `from` then say what.
    pub(super) fn write_here(
        &self,
        offset: &mut u64,
        from: &mut Source<'_>,
        durable: bool,
    ) -> Option<Result<(), IoError>> {
        if self.inline != Inline::Always {
            return None;
        }
        while !from.is_empty() {
            if i64::try_from(*offset).is_err() {
                return Some(Err(io::Error::from(io::ErrorKind::InvalidInput).into()));
            }
            match self.write_once_here(*offset, *from, durable) {
                Ok(0) => return Some(Err(io::Error::from(io::ErrorKind::WriteZero).into())),
                Ok(bytes) => {
                    turn::charge(bytes);
                    if bytes == from.len() {
                        break;
                    }
                    *offset += bytes as u64;
                    (_, *from) = from.split_at(bytes);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Some(Err(io::Error::from(error).into())),
            }
        }
        Some(Ok(()))
    }

    fn write_once_here(
        &self,
        offset: u64,
        from: Source<'_>,
        durable: bool,
    ) -> rustix::io::Result<usize> {
        let fd = &*self.fd;
        let max = self.max_bytes();
        if let (Some(bytes), false) = (from.as_contiguous(), durable) {
            return rustix::io::pwrite(fd, &bytes[..bytes.len().min(max)], offset);
        }
        let mut flags = ReadWriteFlags::empty();
        flags.set(ReadWriteFlags::DSYNC, durable);
        rustix::io::pwritev2(fd, &from.io_slices(max, MAX_SEGMENTS), offset, flags)
    }
}
