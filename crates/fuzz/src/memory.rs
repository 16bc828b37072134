//! A file in memory: a protocol driver whose every byte a test sees.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use block_common::error::errno;
use block_gs::{BlockDriver, BqlGuard, GraphError, Node, NodeBuilder, NodeOptions};
use block_io::{
    BlockStatus, Capabilities, Destination, DriverIo, IoError, IoFuture, Request, Source,
    Truncation, WriteFlags,
};

const PAGE: usize = 4096;

/// How long a file may get, in bytes: a file system has its limit too, and a
/// corrupt table can name any offset.
const LONGEST: u64 = 1 << 40;

/// How many pages a file may take more than it had.
const ROOM: usize = 4096;

/// How many requests one input may cause before it counts as one that never
/// ends.
const REQUESTS: u64 = 200_000;

/// The bytes of a file; what is not stored reads as zeroes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Bytes {
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    length: u64,
}

/// What a file holds, and what was done with it.
#[derive(Debug)]
struct State {
    bytes: Bytes,
    room: usize,
    changes: u64,
    requests: u64,
}

/// A file in memory, which the nodes over it share.
#[derive(Clone, Debug)]
pub struct MemoryFile(Arc<Mutex<State>>);

/// What a file held at some time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contents(Bytes);

impl Bytes {
    fn new(bytes: &[u8]) -> Bytes {
        let pages = bytes.chunks(PAGE).enumerate();
        let page = |(index, chunk): (usize, &[u8])| {
            let mut page = Box::new([0; PAGE]);
            page[..chunk.len()].copy_from_slice(chunk);
            (index as u64, page)
        };
        Bytes {
            pages: pages.map(page).collect(),
            length: bytes.len() as u64,
        }
    }

    fn read(&self, offset: u64, into: &mut [u8]) {
        each_page(offset, into.len(), |page, within, range| {
            match self.pages.get(&page) {
                Some(bytes) => {
                    let length = range.len();
                    into[range].copy_from_slice(&bytes[within..within + length]);
                }
                None => into[range].fill(0),
            }
        });
    }

    fn write(&mut self, offset: u64, from: &[u8]) {
        each_page(offset, from.len(), |page, within, range| {
            let page = self
                .pages
                .entry(page)
                .or_insert_with(|| Box::new([0; PAGE]));
            let length = range.len();
            page[within..within + length].copy_from_slice(&from[range]);
        });
        self.length = self.length.max(offset + from.len() as u64);
    }

    fn zero(&mut self, offset: u64, bytes: u64) {
        let end = offset + bytes;
        let first = offset / PAGE as u64;
        let last = end.div_ceil(PAGE as u64);
        let touched: Vec<u64> = self.pages.range(first..last).map(|page| *page.0).collect();
        for number in touched {
            let start = number * PAGE as u64;
            let from = offset.saturating_sub(start) as usize;
            let to = (end - start).min(PAGE as u64) as usize;
            if let Some(page) = self.pages.get_mut(&number) {
                page[from..to].fill(0);
            }
        }
    }
}

/// Cuts a range where pages end: the page, where in it, and which bytes of the
/// range.
fn each_page(offset: u64, length: usize, mut each: impl FnMut(u64, usize, std::ops::Range<usize>)) {
    let mut done = 0;
    while done < length {
        let at = offset + done as u64;
        let within = (at % PAGE as u64) as usize;
        let part = (PAGE - within).min(length - done);
        each(at / PAGE as u64, within, done..done + part);
        done += part;
    }
}

impl MemoryFile {
    /// A file with these bytes.
    pub fn new(bytes: &[u8]) -> MemoryFile {
        MemoryFile(Arc::new(Mutex::new(State {
            room: bytes.len() / PAGE + ROOM,
            bytes: Bytes::new(bytes),
            changes: 0,
            requests: 0,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it holds now.
    pub fn contents(&self) -> Contents {
        Contents(self.lock().bytes.clone())
    }

    /// How often it was changed.
    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// How long it is, in bytes.
    pub fn length(&self) -> u64 {
        self.lock().bytes.length
    }

    /// Bytes of it; what it lacks is zero.
    pub fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.lock().bytes.read(offset, &mut bytes);
        bytes
    }

    /// Makes a node over it. Needs the exclusive proof because a new node
    /// enters the graph.
    ///
    /// # Errors
    /// Those of [`NodeBuilder::open`].
    pub fn open(&self, bql: &mut BqlGuard, name: &str) -> Result<Node, GraphError> {
        NodeBuilder::new(name)
            .options(NodeOptions::default())
            .open(bql, Arc::new(Memory(self.clone())))
    }

    /// Counts a request.
    ///
    /// # Panics
    /// When an input has caused so many that it will not come to an end.
    fn enter(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.requests += 1;
        assert!(state.requests < REQUESTS, "this input has no end");
        state
    }
}

/// The driver of a [`MemoryFile`].
#[derive(Debug)]
struct Memory(MemoryFile);

fn no_space<'r>() -> IoFuture<'r> {
    IoFuture::failed(IoError::from_errno(errno::ENOSPC))
}

impl DriverIo for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            zero_flags: Some(WriteFlags::MAY_UNMAP | WriteFlags::NO_FALLBACK),
            discards: true,
            truncates_to_zeroes: true,
            ..Capabilities::default()
        }
    }

    fn read<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        let state = self.0.enter();
        let mut bytes = vec![0; into.len()];
        state.bytes.read(offset, &mut bytes);
        into.copy_from_slice(&bytes);
        IoFuture::done()
    }

    fn write<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        let mut state = self.0.enter();
        let end = offset.saturating_add(from.len() as u64);
        if end > LONGEST || state.bytes.pages.len() + from.len() / PAGE + 2 > state.room {
            return no_space();
        }
        let mut bytes = vec![0; from.len()];
        from.copy_to_slice(&mut bytes);
        state.changes += 1;
        state.bytes.write(offset, &bytes);
        IoFuture::done()
    }

    fn write_zeroes<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        bytes: u64,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        let mut state = self.0.enter();
        let end = offset.saturating_add(bytes);
        if end > LONGEST {
            return no_space();
        }
        state.changes += 1;
        state.bytes.zero(offset, bytes);
        state.bytes.length = state.bytes.length.max(end);
        IoFuture::done()
    }

    fn discard<'r>(&'r self, _request: Request<'r>, offset: u64, bytes: u64) -> IoFuture<'r> {
        let mut state = self.0.enter();
        state.changes += 1;
        state.bytes.zero(offset, bytes);
        IoFuture::done()
    }

    fn block_status<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        _precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        drop(self.0.enter());
        IoFuture::ready(Ok(
            BlockStatus::data(bytes).stored_at(request.node(), offset)
        ))
    }

    fn flush<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r> {
        drop(self.0.enter());
        IoFuture::done()
    }

    fn truncate<'r>(&'r self, _request: Request<'r>, to: Truncation) -> IoFuture<'r> {
        let mut state = self.0.enter();
        if to.length > LONGEST {
            return no_space();
        }
        state.changes += 1;
        let length = state.bytes.length;
        if to.length < length {
            state.bytes.zero(to.length, length - to.length);
        }
        state.bytes.length = to.length;
        IoFuture::done()
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(self.0.lock().bytes.length))
    }

    fn allocated_size<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(self.0.lock().bytes.length))
    }
}

impl BlockDriver for Memory {
    fn format_name(&self) -> &'static str {
        "memory"
    }
}
