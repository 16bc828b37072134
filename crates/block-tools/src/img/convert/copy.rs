//! The copying itself.
//!
//! One future finds out piece by piece what there is to do. Pieces are read by
//! tasks, so many at a time as was asked for; who reads also looks for zeroes.
//! Unless the order does not matter, pieces are written in their order, one
//! after the other, so a target that needs that gets it. Of compressed ones
//! several are under way at a time, because packing takes long: a format
//! stores them in the order in which they came.

use std::collections::VecDeque;
use std::sync::Arc;

use block_common::limits::MAX_REQUEST;
use block_io::aio::{AioContext, JoinHandle};
use block_io::{Buffer, CopyTarget, IoError, IoNode, Root, StatusFlags, WriteFlags};

use super::zeroes::{Part, Sparse};
use crate::img::call::{Failed, complain, fail, reason};
use crate::img::image::{Contents, SECTOR};
use crate::img::progress::Progress;

/// After how many bytes in a row it is said how far it is.
const SAID_AT: u64 = 2 << 20;

/// One of the images that are put behind each other.
pub(super) struct Input {
    pub contents: Contents,
    /// What the target is based on has what is below this, too.
    pub base: Option<Arc<IoNode>>,
    /// Requests are best aligned to this; a multiple of a sector.
    pub alignment: u64,
}

/// What is copied, and how.
pub(super) struct Copy {
    pub inputs: Vec<Input>,
    pub target: Contents,
    /// The target reads as zeroes where nothing is written.
    pub has_zeroes: bool,
    /// The target reads as something else where nothing is written.
    pub has_backing: bool,
    /// How long that is, if it is known.
    pub backing_length: Option<u64>,
    /// Written compressed, in clusters of so many bytes.
    pub cluster: Option<u64>,
    pub sparse: Sparse,
    /// How much is read at once at most.
    pub at_once: u64,
    /// How many pieces at a time.
    pub lanes: usize,
    pub in_order: bool,
    /// Without reading, where the host can.
    pub copy_range: bool,
    /// Goes on behind what cannot be read.
    pub salvage: bool,
    pub quiet: bool,
    /// Where pieces are read, in turn.
    pub threads: Vec<AioContext>,
    /// Where compressed ones are written.
    pub writer: AioContext,
}

/// What a piece is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Data,
    Zero,
    /// What the backing image of the target has.
    Backing,
}

/// A piece of the target.
#[derive(Clone, Copy, Debug)]
struct Piece {
    offset: u64,
    bytes: u64,
    kind: Kind,
}

/// What is known of the inputs from the last look at them on.
#[derive(Clone, Copy)]
struct Known {
    until: u64,
    kind: Kind,
}

const NOTHING: Known = Known {
    until: 0,
    kind: Kind::Data,
};

/// A piece that has been read, and what of it is to be written.
struct Read {
    piece: Piece,
    buffer: Buffer,
    parts: Vec<Part>,
}

/// The part of the copying that tasks do.
struct Shared {
    copy: Copy,
}

type Reading = JoinHandle<Result<Read, Failed>>;

/// What is under way, and memory for more.
#[derive(Default)]
struct UnderWay {
    reading: VecDeque<Reading>,
    /// Compressed pieces.
    writing: VecDeque<Reading>,
    idle: Vec<Buffer>,
}

/// Copies everything.
///
/// # Errors
/// What could not be read or written. The target is not complete then.
pub(super) async fn run(copy: Copy, progress: &Progress) -> Result<(), Failed> {
    let shared = Arc::new(Shared { copy });
    let copy = &shared.copy;
    let total = copy.length();
    let to_do = match progress.is_shown() {
        true => copy.count().await?,
        false => 0,
    };
    let (mut done, mut unsaid) = (0, 0);
    let mut known = NOTHING;
    let mut offset = 0;
    let mut copy_range = copy.copy_range;
    let mut under_way = UnderWay::default();
    let mut turn = 0;
    while offset < total {
        let mut piece = copy.next(offset, &mut known).await?;
        if copy.sparse.least == 0 && piece.kind == Kind::Zero {
            piece.bytes = piece.bytes.min(copy.at_once);
        }
        offset += piece.bytes;
        if copy.carries(piece.kind) {
            done += piece.bytes;
            unsaid += piece.bytes;
            if to_do > 0 && (unsaid >= SAID_AT || offset >= known.until) {
                unsaid = 0;
                progress.is_at((100.0 * done as f64 / to_do as f64) as f32);
            }
        }
        match piece.kind {
            Kind::Backing => continue,
            Kind::Zero if copy.sparse.least > 0 => {
                if copy.has_zeroes {
                    continue;
                }
                if copy.in_order {
                    shared.finish_all(&mut under_way).await?;
                }
                copy.write_zeroes(piece.offset, piece.bytes).await?;
                continue;
            }
            Kind::Data if copy_range => {
                if copy.copy_range(piece).await.is_ok() {
                    continue;
                }
                // What the host cannot do for one it cannot do for others.
                copy_range = false;
            }
            Kind::Data | Kind::Zero => {}
        }
        if under_way.reading.len() >= copy.lanes {
            shared.finish(&mut under_way).await?;
        }
        let buffer = under_way.idle.pop();
        let buffer = buffer.unwrap_or_else(|| Buffer::with_alignment(copy.at_once as usize, 4096));
        let context = &copy.threads[turn % copy.threads.len()];
        turn += 1;
        let task = Arc::clone(&shared);
        under_way.reading.push_back(context.spawn(async move {
            let read = task.copy.read(piece, buffer).await?;
            if task.copy.in_order {
                return Ok(read);
            }
            task.copy.write(&read).await?;
            Ok(Read {
                parts: Vec::new(),
                ..read
            })
        }));
    }
    shared.finish_all(&mut under_way).await
}

impl Shared {
    /// Waits for the oldest piece that is read, and writes it if that has not
    /// been done.
    async fn finish(self: &Arc<Self>, under_way: &mut UnderWay) -> Result<(), Failed> {
        let Some(oldest) = under_way.reading.pop_front() else {
            return Ok(());
        };
        let read = oldest.await?;
        if self.copy.cluster.is_none() || read.parts.is_empty() {
            self.copy.write(&read).await?;
            under_way.idle.push(read.buffer);
            return Ok(());
        }
        if under_way.writing.len() >= self.copy.lanes {
            Shared::finish_write(under_way).await?;
        }
        let task = Arc::clone(self);
        let writing = self.copy.writer.spawn(async move {
            task.copy.write(&read).await?;
            Ok(read)
        });
        under_way.writing.push_back(writing);
        Ok(())
    }

    async fn finish_write(under_way: &mut UnderWay) -> Result<(), Failed> {
        if let Some(oldest) = under_way.writing.pop_front() {
            under_way.idle.push(oldest.await?.buffer);
        }
        Ok(())
    }

    async fn finish_all(self: &Arc<Self>, under_way: &mut UnderWay) -> Result<(), Failed> {
        while !under_way.reading.is_empty() {
            self.finish(under_way).await?;
        }
        while !under_way.writing.is_empty() {
            Shared::finish_write(under_way).await?;
        }
        Ok(())
    }
}

fn failed_write(offset: u64, error: &IoError) -> Failed {
    let reason = reason(error);
    fail(format!("error while writing at byte {offset}: {reason}"))
}

fn warn(message: &str) {
    complain("qemu-img", &format!("warning: {message}"));
}

impl Copy {
    /// How many bytes all inputs have together.
    fn length(&self) -> u64 {
        let lengths = self.inputs.iter().map(|input| input.contents.length());
        lengths.fold(0, u64::saturating_add)
    }

    /// The input that has `offset`, and where it begins.
    fn input_at(&self, offset: u64) -> Option<(&Input, u64)> {
        let mut begin = 0;
        for input in &self.inputs {
            let length = input.contents.length();
            if offset - begin < length {
                return Some((input, begin));
            }
            begin += length;
        }
        None
    }

    /// Whether pieces of this kind are written as data.
    fn carries(&self, kind: Kind) -> bool {
        kind == Kind::Data || kind == Kind::Zero && self.sparse.least == 0
    }

    /// How many bytes are going to be written as data.
    async fn count(&self) -> Result<u64, Failed> {
        let (mut sum, mut offset, mut known) = (0, 0, NOTHING);
        while offset < self.length() {
            let piece = self.next(offset, &mut known).await?;
            if self.carries(piece.kind) {
                sum += piece.bytes;
            }
            offset += piece.bytes;
        }
        Ok(sum)
    }

    /// The piece that begins at `offset`.
    async fn next(&self, offset: u64, known: &mut Known) -> Result<Piece, Failed> {
        if known.until <= offset {
            *known = self.look(offset).await?;
        }
        let mut kind = known.kind;
        let mut bytes = known.until - offset;
        if kind == Kind::Data {
            bytes = bytes.min(self.at_once);
        }
        if let Some(cluster) = self.cluster {
            // A cluster is written as a whole, whatever a part of it is.
            if bytes < cluster {
                bytes = cluster.min(self.length() - offset);
                kind = Kind::Data;
            } else {
                bytes -= bytes % cluster;
            }
        }
        Ok(Piece {
            offset,
            bytes,
            kind,
        })
    }

    /// What is known from `offset` on.
    async fn look(&self, offset: u64) -> Result<Known, Failed> {
        let Some((input, begin)) = self.input_at(offset) else {
            return Err(fail("Could not find out what is to be copied"));
        };
        let at = offset - begin;
        let mut most = input.contents.length() - at;
        most = most.min(MAX_REQUEST);
        // Where the backing image ends, zeroes begin to mean something else.
        let end = self.backing_length.filter(|_| self.has_backing);
        let behind = end.is_some_and(|end| offset >= end);
        if let Some(end) = end.filter(|end| *end > offset) {
            most = most.min(end - offset);
        }
        let (flags, bytes) = self.status(input, at, most).await?;
        let mut bytes = bytes.min(most).next_multiple_of(SECTOR);
        let tail = (at + bytes) % input.alignment;
        if bytes > tail {
            bytes -= tail;
        }
        let kind = if flags.contains(StatusFlags::ZERO) {
            if behind { Kind::Backing } else { Kind::Zero }
        } else if flags.contains(StatusFlags::DATA) || !self.has_backing {
            Kind::Data
        } else {
            Kind::Backing
        };
        Ok(Known {
            until: offset + bytes,
            kind,
        })
    }

    async fn status(
        &self,
        input: &Input,
        at: u64,
        most: u64,
    ) -> Result<(StatusFlags, u64), Failed> {
        let base = input.base.as_deref().filter(|_| self.has_backing);
        let mut bytes = most;
        loop {
            match input.contents.status(base, at, bytes).await {
                Ok(status) => return Ok((status.flags, status.bytes)),
                Err(error) if !self.salvage => {
                    let text = format!("error while reading block status at offset {at}");
                    return Err(fail(format!("{text}: {}", reason(&error))));
                }
                Err(error) if bytes <= SECTOR => {
                    if !self.quiet {
                        let text = format!("error while reading block status at offset {at}");
                        warn(&format!("{text}: {}", reason(&error)));
                    }
                    // It may be readable all the same.
                    return Ok((StatusFlags::DATA, SECTOR));
                }
                Err(_) => bytes = (bytes / 4).next_multiple_of(SECTOR),
            }
        }
    }

    /// Reads a piece, and looks what of it is worth writing.
    async fn read(&self, piece: Piece, mut buffer: Buffer) -> Result<Read, Failed> {
        let bytes = piece.bytes as usize;
        if piece.kind == Kind::Zero {
            buffer.as_mut_slice()[..bytes].fill(0);
        } else {
            self.read_inputs(piece, &mut buffer).await?;
        }
        let (data, _) = buffer.source().split_at(bytes);
        let parts = match self.cluster {
            Some(_) => vec![Part {
                at: 0,
                bytes,
                is_data: self.sparse.least == 0 || !data.is_zero(),
            }],
            None => self.sparse.parts(data, piece.offset),
        };
        Ok(Read {
            piece,
            buffer,
            parts,
        })
    }

    /// A piece of clusters can reach from one input into the next.
    async fn read_inputs(&self, piece: Piece, buffer: &mut Buffer) -> Result<(), Failed> {
        let mut done = 0;
        while done < piece.bytes {
            let offset = piece.offset + done;
            let Some((input, begin)) = self.input_at(offset) else {
                return Err(fail("Could not find out what is to be copied"));
            };
            let at = offset - begin;
            let bytes = (piece.bytes - done).min(input.contents.length() - at);
            let read = input
                .contents
                .read_at(at, buffer, done as usize, bytes as usize);
            match read.await {
                Ok(()) => {}
                Err(_) if self.salvage => {
                    self.read_sectors(input, at, buffer, done as usize, bytes)
                        .await;
                }
                Err(error) => {
                    let (offset, reason) = (piece.offset, reason(&error));
                    let text = format!("error while reading at byte {offset}: {reason}");
                    return Err(fail(text));
                }
            }
            done += bytes;
        }
        Ok(())
    }

    /// Reads what can be read, sector by sector.
    async fn read_sectors(
        &self,
        input: &Input,
        at: u64,
        buffer: &mut Buffer,
        to: usize,
        bytes: u64,
    ) {
        let sector = SECTOR as usize;
        for part in (0..bytes).step_by(sector) {
            let (at, to) = (at + part, to + part as usize);
            let many = (bytes - part).min(SECTOR) as usize;
            if let Err(error) = input.contents.read_at(at, buffer, to, many).await {
                if !self.quiet {
                    let reason = reason(&error);
                    warn(&format!("error while reading offset {at}: {reason}"));
                }
                buffer.as_mut_slice()[to..to + many].fill(0);
            }
        }
    }

    /// Writes what of a piece is to be written.
    async fn write(&self, read: &Read) -> Result<(), Failed> {
        let mut flags = WriteFlags::empty();
        flags.set(WriteFlags::COMPRESSED, self.cluster.is_some());
        for part in &read.parts {
            let offset = read.piece.offset + part.at as u64;
            if !part.is_data {
                if !self.has_zeroes {
                    self.write_zeroes(offset, part.bytes as u64).await?;
                }
                continue;
            }
            // Behind the end of a file that ends within a sector.
            let bytes = self.target.stored(offset, part.bytes as u64) as usize;
            let (_, rest) = read.buffer.source().split_at(part.at);
            let (data, behind) = rest.split_at(bytes);
            if !behind.split_at(part.bytes - bytes).0.is_zero() {
                return Err(fail("output file is smaller than input file"));
            }
            let written = self.target.root().write_with(offset, data, flags).await;
            written.map_err(|error| failed_write(read.piece.offset, &error))?;
        }
        Ok(())
    }

    async fn write_zeroes(&self, offset: u64, bytes: u64) -> Result<(), Failed> {
        let bytes = self.target.stored(offset, bytes);
        if bytes == 0 {
            return Ok(());
        }
        let root: &Root = self.target.root();
        let written = root
            .write_zeroes(offset, bytes, WriteFlags::MAY_UNMAP)
            .await;
        written.map_err(|error| failed_write(offset, &error))
    }

    /// Lets the host copy a piece.
    async fn copy_range(&self, piece: Piece) -> Result<(), IoError> {
        let mut done = 0;
        while done < piece.bytes {
            let offset = piece.offset + done;
            let Some((input, begin)) = self.input_at(offset) else {
                return Err(IoError::NotSupported);
            };
            let at = offset - begin;
            let bytes = (piece.bytes - done).min(input.contents.length() - at);
            let stored = input.contents.stored(at, bytes);
            if stored < bytes || self.target.stored(offset, bytes) < bytes {
                return Err(IoError::NotSupported);
            }
            let to = CopyTarget {
                root: self.target.root(),
                offset,
            };
            let flags = WriteFlags::empty();
            input
                .contents
                .root()
                .copy_range(at, to, bytes, flags)
                .await?;
            done += bytes;
        }
        Ok(())
    }
}
