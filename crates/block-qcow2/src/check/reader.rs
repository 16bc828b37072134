//! Reading tables in pieces that are worth it.

use block_io::{Buffer, IoError, Request};

/// How much is read at once, in bytes, where tables are shorter.
const PIECE: usize = 64 << 10;

/// Reads tables. What follows a short one is read with it, because it is
/// often the next.
pub(super) struct Reader {
    buffer: Buffer,
    start: u64,
    bytes: usize,
}

impl Reader {
    pub fn new() -> Reader {
        Reader {
            buffer: Buffer::zeroed(PIECE),
            start: 0,
            bytes: 0,
        }
    }

    /// Forgets what was read: it is being written.
    pub fn forget(&mut self) {
        self.bytes = 0;
    }

    /// Reads `length` bytes into `to`. What is beyond the end of the file, at
    /// `end`, is zero.
    ///
    /// # Errors
    /// Those of the file.
    pub async fn read(
        &mut self,
        file: Request<'_>,
        offset: u64,
        length: usize,
        end: u64,
        to: &mut Vec<u8>,
    ) -> Result<(), IoError> {
        to.clear();
        let there = end.saturating_sub(offset).min(length as u64) as usize;
        if there > 0 {
            let skip = match offset.checked_sub(self.start) {
                Some(skip) if skip.saturating_add(there as u64) <= self.bytes as u64 => {
                    skip as usize
                }
                _ => {
                    self.fill(file, offset, there, end).await?;
                    0
                }
            };
            to.extend_from_slice(&self.buffer.as_slice()[skip..skip + there]);
        }
        to.resize(length, 0);
        Ok(())
    }

    async fn fill(
        &mut self,
        file: Request<'_>,
        offset: u64,
        there: usize,
        end: u64,
    ) -> Result<(), IoError> {
        self.bytes = 0;
        if self.buffer.as_slice().len() < there {
            self.buffer = Buffer::zeroed(there);
        }
        let ahead = (end - offset).min(PIECE as u64) as usize;
        let mut wanted = ahead.max(there);
        let mut read = self.try_fill(file, offset, wanted).await;
        if read.is_err() && wanted > there {
            // What nobody asked for may not be readable.
            wanted = there;
            read = self.try_fill(file, offset, wanted).await;
        }
        read?;
        (self.start, self.bytes) = (offset, wanted);
        Ok(())
    }

    async fn try_fill(
        &mut self,
        file: Request<'_>,
        offset: u64,
        bytes: usize,
    ) -> Result<(), IoError> {
        let (into, _) = self.buffer.destination().split_at(bytes);
        file.read(offset, into).await
    }
}
