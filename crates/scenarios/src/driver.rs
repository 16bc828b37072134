//! The driver of the scenarios' nodes.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use block_gs::{BlockDriver, BqlGuard, ChildPermQuery, PermPair};
use block_io::aio::{AioContext, sleep};
use block_io::{
    Activity, BlockStatus, Capabilities, Destination, DriverIo, IoFuture, IoNode, Request, Source,
    WriteFlags,
};

use crate::Watch;

/// How long a read of a [`TestDriver`] takes at least.
pub const LATENCY: Duration = Duration::from_micros(100);

type DrainCallback = Box<dyn FnOnce(&BqlGuard) + Send>;

/// How a [`TestDriver`] behaves.
#[derive(Default)]
pub struct Manner {
    /// How many bytes it has, all of them zero at first.
    pub size: usize,
    /// A filter over its child `file`: shows what that has.
    pub is_filter: bool,
    /// Can have a backing image.
    pub has_backing: bool,
    /// Reads are reads of the child called so.
    pub reads_from: Option<&'static str>,
    /// Asks for these of every child, instead of the default.
    pub child_perms: Option<PermPair>,
    /// A read begins to sleep when the node is drained: one in flight then
    /// was certainly in flight when the section began.
    pub reads_wait_for_drain: bool,
    /// A read sleeps in this event loop and not in its own.
    pub sleeps_elsewhere: Option<AioContext>,
    /// From when it is opened until a while after it is drained for the first
    /// time the node is busy with something of its own.
    pub is_busy_until_drained: bool,
    /// What requests are told that it can do.
    pub capabilities: Capabilities,
    /// Says of no block that it has it.
    pub is_empty: bool,
}

impl Manner {
    /// Has `size` bytes.
    pub fn of(size: usize) -> Self {
        Manner {
            size,
            ..Manner::default()
        }
    }

    /// As [`of`](Manner::of), with place for a backing image.
    pub fn overlay(size: usize) -> Self {
        Manner {
            has_backing: true,
            ..Manner::of(size)
        }
    }

    /// A filter.
    pub fn filter() -> Self {
        Manner {
            is_filter: true,
            reads_from: Some("file"),
            capabilities: Capabilities {
                filter: true,
                ..Capabilities::default()
            },
            ..Manner::default()
        }
    }
}

impl fmt::Debug for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manner").finish_non_exhaustive()
    }
}

/// Keeps bytes in memory. A read sleeps for [`LATENCY`]; drain callbacks are
/// counted; closing it while it is not drained panics.
pub struct TestDriver {
    manner: Manner,
    bytes: Mutex<Vec<u8>>,
    on_drain: Mutex<Option<DrainCallback>>,
    drained: Watch<i64>,
    drain_begins: AtomicUsize,
    reads: AtomicUsize,
    writes: AtomicUsize,
    discards: AtomicUsize,
    flushes: AtomicUsize,
    closes: AtomicUsize,
}

impl TestDriver {
    /// A driver that is not in charge of a node yet.
    pub fn new(manner: Manner) -> Self {
        TestDriver {
            bytes: Mutex::new(vec![0; manner.size]),
            manner,
            on_drain: Mutex::default(),
            drained: Watch::default(),
            drain_begins: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
            discards: AtomicUsize::new(0),
            flushes: AtomicUsize::new(0),
            closes: AtomicUsize::new(0),
        }
    }

    /// Runs `callback` in the next `drain_begin`.
    pub fn on_drain(&self, callback: impl FnOnce(&BqlGuard) + Send + 'static) {
        *self.on_drain.lock().expect("no panic") = Some(Box::new(callback));
    }

    /// Calls of `drain_begin` minus those of `drain_end`.
    pub fn drain_count(&self) -> i64 {
        self.drained.read(|drained| *drained)
    }

    /// Waits until it is drained.
    pub async fn until_drained(&self) {
        self.drained.until(|drained| *drained > 0).await;
    }

    /// Calls of `drain_begin` so far.
    pub fn drain_begins(&self) -> usize {
        self.drain_begins.load(Ordering::Relaxed)
    }

    /// Reads that have arrived.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::Acquire)
    }

    /// Writes and zero writes that have arrived.
    pub fn writes(&self) -> usize {
        self.writes.load(Ordering::Acquire)
    }

    /// Discards that have arrived.
    pub fn discards(&self) -> usize {
        self.discards.load(Ordering::Acquire)
    }

    /// Flushes that have arrived.
    pub fn flushes(&self) -> usize {
        self.flushes.load(Ordering::Acquire)
    }

    /// How often it was closed.
    pub fn closes(&self) -> usize {
        self.closes.load(Ordering::Acquire)
    }

    async fn sleep(&self) {
        if self.manner.reads_wait_for_drain {
            self.until_drained().await;
        }
        match &self.manner.sleeps_elsewhere {
            Some(context) => context.spawn(sleep(LATENCY)).await,
            None => sleep(LATENCY).await,
        }
    }
}

impl fmt::Debug for TestDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestDriver").finish_non_exhaustive()
    }
}

impl DriverIo for TestDriver {
    fn capabilities(&self) -> Capabilities {
        self.manner.capabilities
    }

    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        self.reads.fetch_add(1, Ordering::Release);
        if let Some(name) = self.manner.reads_from {
            return match request.child(name) {
                Ok(child) => child.read(offset, into),
                Err(error) => IoFuture::failed(error),
            };
        }
        IoFuture::new(async move {
            self.sleep().await;
            let start = offset as usize;
            let bytes = self.bytes.lock().expect("no panic");
            into.copy_from_slice(&bytes[start..start + into.len()]);
            Ok(())
        })
    }

    fn write<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        self.writes.fetch_add(1, Ordering::Release);
        let start = offset as usize;
        let mut bytes = self.bytes.lock().expect("no panic");
        let end = bytes.len().max(start + from.len());
        bytes.resize(end, 0);
        from.copy_to_slice(&mut bytes[start..start + from.len()]);
        IoFuture::done()
    }

    fn write_zeroes<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        bytes: u64,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        self.writes.fetch_add(1, Ordering::Release);
        let range = offset as usize..(offset + bytes) as usize;
        self.bytes.lock().expect("no panic")[range].fill(0);
        IoFuture::done()
    }

    fn discard<'r>(&'r self, _request: Request<'r>, _offset: u64, _bytes: u64) -> IoFuture<'r> {
        self.discards.fetch_add(1, Ordering::Release);
        IoFuture::done()
    }

    fn block_status<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        bytes: u64,
        _precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        IoFuture::ready(Ok(match self.manner.is_empty {
            true => BlockStatus::unallocated(bytes),
            false => BlockStatus::data(bytes),
        }))
    }

    fn flush<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r> {
        self.flushes.fetch_add(1, Ordering::Release);
        IoFuture::done()
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        match request.file() {
            Ok(file) if self.manner.is_filter => file.length(),
            _ => IoFuture::ready(Ok(self.bytes.lock().expect("no panic").len() as u64)),
        }
    }
}

impl BlockDriver for TestDriver {
    fn format_name(&self) -> &'static str {
        "test"
    }

    fn is_filter(&self) -> bool {
        self.manner.is_filter
    }

    fn supports_backing(&self) -> bool {
        self.manner.has_backing
    }

    fn child_perm(&self, _bql: &BqlGuard, query: &ChildPermQuery<'_>) -> PermPair {
        self.manner
            .child_perms
            .unwrap_or_else(|| query.default_perms())
    }

    fn opened(&self, _bql: &BqlGuard, node: &Arc<IoNode>) {
        if !self.manner.is_busy_until_drained {
            return;
        }
        let node = Arc::clone(node);
        let home = Arc::clone(&node);
        let task = async move {
            let activity = Activity::begin(Arc::clone(&node)).await;
            let driver: &dyn std::any::Any = node.driver();
            let driver: &TestDriver = driver.downcast_ref().expect("it is this one");
            driver.until_drained().await;
            sleep(LATENCY).await;
            drop(activity);
        };
        home.spawn(task).detach();
    }

    fn drain_begin(&self, bql: &BqlGuard) {
        self.drain_begins.fetch_add(1, Ordering::Relaxed);
        self.drained.update(|drained| *drained += 1);
        let callback = self.on_drain.lock().expect("no panic").take();
        if let Some(callback) = callback {
            callback(bql);
        }
    }

    fn drain_end(&self, _bql: &BqlGuard) {
        self.drained.update(|drained| *drained -= 1);
    }

    fn close(&self, _bql: &mut BqlGuard) {
        assert!(self.drain_count() > 0, "closed while it was not drained");
        self.closes.fetch_add(1, Ordering::Release);
    }
}
