//! Transfers on the spot, by system calls that do not wait for a disk, or
//! hardly ever.

use std::io::{self, IoSliceMut};
use std::sync::atomic::Ordering;

use block_common::IoError;
use rustix::io::{Errno, ReadWriteFlags};

use super::patience::Attempt;
use super::{FileIo, Inline, MAX_SEGMENTS};
use crate::{Destination, Source, turn};

/// Longer writes go to an engine where they might wait: they take so long
/// (copying these bytes takes some 100 microseconds) that another thread is
/// worth its cost. Those of several requests to one file would not run side by
/// side there, as the file system lets one at a time write. In bytes.
pub(super) const SHORT: usize = 1 << 20;

/// What a file system does for a write besides copying it takes as long as
/// copying so many bytes.
const BESIDES: usize = 128 << 10;

impl FileIo {
    /// Reads what can be had without waiting. `None` if something is left, of
    /// which `offset` and `into` then say what.
    pub(super) fn read_here(
        &self,
        offset: &mut u64,
        into: &mut Destination<'_>,
    ) -> Option<Result<(), IoError>> {
        let no_wait = match self.inline {
            Inline::Never => return None,
            Inline::Always => false,
            Inline::NoWait | Inline::Patient => true,
        };
        if no_wait && self.no_wait_refused.load(Ordering::Relaxed) {
            return None;
        }
        while !into.is_empty() {
            // As an offset, -1 would mean "at the file's own position".
            if i64::try_from(*offset).is_err() {
                return Some(Err(io::Error::from(io::ErrorKind::InvalidInput).into()));
            }
            match self.read_once_here(*offset, into, no_wait) {
                // Some kernels say 0 also when the first page is not cached.
                Ok(0) if no_wait => return None,
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
                Err(Errno::AGAIN) if no_wait => return None,
                Err(Errno::OPNOTSUPP | Errno::NOSYS) if no_wait => {
                    self.no_wait_refused.store(true, Ordering::Relaxed);
                    return None;
                }
                Err(error) => return Some(Err(io::Error::from(error).into())),
            }
        }
        Some(Ok(()))
    }

    fn read_once_here(
        &self,
        offset: u64,
        into: &mut Destination<'_>,
        no_wait: bool,
    ) -> rustix::io::Result<usize> {
        let fd = &*self.fd;
        let mut flags = ReadWriteFlags::empty();
        flags.set(ReadWriteFlags::NOWAIT, no_wait);
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

    /// Writes what can be written here. `None` if something is left, of which
    /// `offset` and `from` then say what.
    pub(super) fn write_here(
        &self,
        offset: &mut u64,
        from: &mut Source<'_>,
        durable: bool,
    ) -> Option<Result<(), IoError>> {
        let mut flags = ReadWriteFlags::empty();
        flags.set(ReadWriteFlags::DSYNC, durable);
        match self.inline {
            Inline::Always => self.write_by(offset, from, flags),
            Inline::Never => None,
            // What is to be durable waits for the disk.
            Inline::NoWait | Inline::Patient if durable || from.len() > SHORT => None,
            Inline::NoWait | Inline::Patient => self.write_short(offset, from),
        }
    }

    /// Writes little to a file on a disk, if that need not wait, or does so
    /// hardly ever.
    fn write_short(&self, offset: &mut u64, from: &mut Source<'_>) -> Option<Result<(), IoError>> {
        turn::charge(BESIDES);
        if !self.no_wait_writes_refused.load(Ordering::Relaxed) {
            let done = self.write_by(offset, from, ReadWriteFlags::NOWAIT);
            if done.is_some() || !self.no_wait_writes_refused.load(Ordering::Relaxed) {
                return done;
            }
        }
        if self.inline != Inline::Patient {
            return None;
        }
        let attempt = Attempt::begin()?;
        let done = self.write_by(offset, from, ReadWriteFlags::empty());
        attempt.end();
        done
    }

    fn write_by(
        &self,
        offset: &mut u64,
        from: &mut Source<'_>,
        flags: ReadWriteFlags,
    ) -> Option<Result<(), IoError>> {
        let no_wait = flags.contains(ReadWriteFlags::NOWAIT);
        while !from.is_empty() {
            if i64::try_from(*offset).is_err() {
                return Some(Err(io::Error::from(io::ErrorKind::InvalidInput).into()));
            }
            match self.write_once_here(*offset, *from, flags) {
                Ok(0) if no_wait => return None,
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
                Err(Errno::AGAIN) if no_wait => return None,
                Err(Errno::OPNOTSUPP | Errno::NOSYS) if no_wait => {
                    self.no_wait_writes_refused.store(true, Ordering::Relaxed);
                    return None;
                }
                Err(error) => return Some(Err(io::Error::from(error).into())),
            }
        }
        Some(Ok(()))
    }

    fn write_once_here(
        &self,
        offset: u64,
        from: Source<'_>,
        flags: ReadWriteFlags,
    ) -> rustix::io::Result<usize> {
        let fd = &*self.fd;
        let max = self.max_bytes();
        if let (Some(bytes), true) = (from.as_contiguous(), flags.is_empty()) {
            return rustix::io::pwrite(fd, &bytes[..bytes.len().min(max)], offset);
        }
        rustix::io::pwritev2(fd, &from.io_slices(max, MAX_SEGMENTS), offset, flags)
    }
}
