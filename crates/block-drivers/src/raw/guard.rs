//! Keeps a guest from making its image look like one of a format.

use std::ops::Range;

use block_common::error::errno;
use block_io::engine::{Entered, Overlaps};
use block_io::{Buffer, IoError, Request, Source, WriteFlags};

use super::SECTOR;
use crate::forward::file_length;

/// Looks at what the first sector of the file would be after a request, as a
/// whole (`bs->probed`).
///
/// Requests that touch it take turns. Two that each write a part may leave
/// alone what the file looks like, and yet change it together.
///
/// The node need not be written in sectors for it, so the file may have any
/// length.
#[derive(Debug)]
pub(super) struct Guard {
    /// Says of 512 bytes, or all that there are, whether a file that begins
    /// with them is still taken for an image without a format.
    is_raw: fn(&[u8]) -> bool,
    turns: Overlaps,
}

/// The first sector, in bytes of the file.
const FIRST: Range<u64> = 0..SECTOR;

impl Guard {
    pub fn new(is_raw: fn(&[u8]) -> bool) -> Self {
        Guard {
            is_raw,
            turns: Overlaps::new(),
        }
    }

    /// Whether a request for these bytes of the file is to be looked at.
    pub fn minds(range: &Range<u64>) -> bool {
        range.start < FIRST.end && !range.is_empty()
    }

    /// Waits for the others that touch the first sector. They wait until what
    /// is returned is dropped.
    ///
    /// # Errors
    /// [`IoError::Busy`] with [`WriteFlags::NO_WAIT`].
    pub async fn turn(&self, flags: WriteFlags) -> Result<Entered<'_>, IoError> {
        match flags.contains(WriteFlags::NO_WAIT) {
            true => self.turns.try_enter(FIRST, true).ok_or(IoError::Busy),
            false => Ok(self.turns.enter(FIRST, true).await),
        }
    }

    /// Checks what the file would begin with if `range` of it became `from`,
    /// or zeroes. It is the caller's turn.
    ///
    /// # Errors
    /// `EPERM` when it would be taken for an image of a format. What comes
    /// from reading the rest of the sector.
    pub async fn check(
        &self,
        request: Request<'_>,
        range: Range<u64>,
        from: Option<Source<'_>>,
    ) -> Result<(), IoError> {
        let mut sector = Buffer::zeroed(SECTOR as usize);
        let mut length = range.end.min(SECTOR);
        if range.start > 0 || range.end < SECTOR {
            let there = file_length(request, |length| length).await?.min(SECTOR);
            let (into, _) = sector.destination().split_at(there as usize);
            if !into.is_empty() {
                request.file()?.read(0, into).await?;
            }
            length = length.max(there);
        }
        let bytes = sector.as_mut_slice();
        let part = &mut bytes[range.start as usize..range.end.min(SECTOR) as usize];
        match from {
            Some(from) => from.split_at(part.len()).0.copy_to_slice(part),
            None => part.fill(0),
        }
        // Also when the file grows.
        match (self.is_raw)(&bytes[..length as usize]) && (self.is_raw)(bytes) {
            true => Ok(()),
            false => Err(IoError::from_errno(errno::EPERM)),
        }
    }
}
