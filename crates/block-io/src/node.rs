//! Nodes as requests see them.
//!
//! No name, permission rule, parent or option of the global state is here.
//! `block-gs` keeps those beside, under its own proof, and shares exactly
//! this half with requests.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};

use block_common::sync::Mutex;
use block_common::{BlockLimits, IoError};

use crate::aio::{AioContext, Home, JoinHandle};
use crate::dirty::DirtyBitmaps;
use crate::engine::{Gate, Overlaps};
use crate::resizes::Resizing;
use crate::status_cache::StatusCache;
use crate::{Capabilities, Children, DriverIo, Events, GraphCell, GsAccess};

/// Identifies a node for as long as the process lives: never used twice, in
/// whichever block layer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeUid(u64);

/// The right to be the node with a certain [`NodeUid`].
///
/// Cells are opened by comparing identities, so no two nodes may share one:
/// it is not `Clone`, and making the node uses it up.
#[derive(Debug)]
pub struct NodeIdentity(NodeUid);

impl NodeIdentity {
    /// An identity that no node has had.
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NodeIdentity(NodeUid(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Which node it will be: for the cells of its driver.
    pub fn uid(&self) -> NodeUid {
        self.0
    }
}

bitflags::bitflags! {
    /// How a node treats requests (`open_flags`, `detect_zeroes` and the like
    /// of a `BlockDriverState`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct NodeFlags: u32 {
        /// Open for reading only.
        const READ_ONLY = 1;
        /// Another process owns the image.
        const INACTIVE = 1 << 1;
        /// A write of zeroes becomes a zero write (`detect-zeroes`).
        const DETECT_ZEROES = 1 << 2;
        /// Such a zero write may give space back (`detect-zeroes=unmap`).
        const DETECT_UNMAP = 1 << 3;
        /// Requests that overlap may have to wait for each other.
        const TRACKED = 1 << 4;
        /// Somebody wants to know when writes reach a threshold.
        const WATCHED = 1 << 5;
        /// Discards reach the driver (`discard=unmap`).
        const UNMAP = 1 << 6;
        /// Flushes do not reach the disk (`cache.no-flush`).
        const NO_FLUSH = 1 << 7;
        /// There are dirty bitmaps, which may want to know what is written.
        const RECORDED = 1 << 8;
        /// There are bitmaps of the image that must not get out of date
        /// (`bdrv_has_readonly_bitmaps`): nothing is written.
        const KEPT_BITMAPS = 1 << 9;
        /// The driver hears of each step of a write
        /// ([`Capabilities::hears_events`]). Follows from the driver.
        const HEARS_EVENTS = 1 << 10;
    }
}

impl NodeFlags {
    /// A write has to look closer.
    const SLOW_WRITES: NodeFlags = NodeFlags::READ_ONLY
        .union(NodeFlags::INACTIVE)
        .union(NodeFlags::DETECT_ZEROES)
        .union(NodeFlags::TRACKED)
        .union(NodeFlags::WATCHED)
        .union(NodeFlags::RECORDED)
        .union(NodeFlags::KEPT_BITMAPS)
        .union(NodeFlags::HEARS_EVENTS);

    /// Requests cannot skip a node that has one of these.
    const SEES_REQUESTS: NodeFlags = NodeFlags::INACTIVE
        .union(NodeFlags::DETECT_ZEROES)
        .union(NodeFlags::TRACKED)
        .union(NodeFlags::WATCHED)
        .union(NodeFlags::RECORDED)
        .union(NodeFlags::KEPT_BITMAPS);
}

/// Who is told that a node was written beyond a threshold, how far beyond,
/// and which threshold it was (`BLOCK_WRITE_THRESHOLD`).
pub type OnThreshold = Box<dyn FnOnce(&str, u64, u64) + Send>;

struct Threshold {
    bytes: u64,
    tell: OnThreshold,
}

/// A node, the half of it that requests use (`BlockDriverState`).
pub struct IoNode {
    /// For what is counted at the node itself and may outlive a borrow of it.
    this: Weak<IoNode>,
    uid: NodeUid,
    name: String,
    driver: Arc<dyn DriverIo>,
    capabilities: Capabilities,
    children: GraphCell<Children>,
    limits: GraphCell<BlockLimits>,
    flags: AtomicU32,
    length: AtomicU64,
    /// A write that would have made the node longer has failed or was
    /// cancelled, and may have done so.
    length_in_doubt: AtomicBool,
    overlaps: Overlaps,
    /// Counts what the node does on its own account. Requests from above are
    /// counted at their root and not here.
    gate: Gate,
    home: Arc<Home>,
    /// How many writes have ended.
    written: AtomicU64,
    /// Which of them are durable.
    flushed: AtomicU64,
    /// One flush at a time; the others wait in order.
    flushes: Overlaps,
    threshold: Mutex<Option<Threshold>>,
    bitmaps: DirtyBitmaps,
    status: StatusCache,
    /// Of the block layer that the node is in, once it is in one.
    events: OnceLock<Arc<Events>>,
}

impl fmt::Debug for IoNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IoNode({})", self.name)
    }
}

impl IoNode {
    /// A node without children and of length 0, at home in `context`.
    pub fn new(
        identity: NodeIdentity,
        name: &str,
        driver: Arc<dyn DriverIo>,
        context: AioContext,
        flags: NodeFlags,
    ) -> Arc<IoNode> {
        let uid = identity.uid();
        let capabilities = driver.capabilities();
        let mut flags = flags;
        flags.set(NodeFlags::HEARS_EVENTS, capabilities.hears_events);
        Arc::new_cyclic(|this| IoNode {
            this: this.clone(),
            uid,
            name: name.to_owned(),
            driver,
            capabilities,
            children: GraphCell::new(uid, Children::default()),
            limits: GraphCell::new(uid, BlockLimits::default()),
            flags: AtomicU32::new(flags.bits()),
            length: AtomicU64::new(0),
            length_in_doubt: AtomicBool::new(false),
            overlaps: Overlaps::new(),
            gate: Gate::new(1),
            home: Arc::new(Home::new(context)),
            written: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            flushes: Overlaps::new(),
            threshold: Mutex::new(None),
            bitmaps: DirtyBitmaps::default(),
            status: StatusCache::default(),
            events: OnceLock::new(),
        })
    }

    /// The node, owned.
    pub(crate) fn to_owned(&self) -> Arc<IoNode> {
        self.this
            .upgrade()
            .expect("somebody borrows the node, so it is owned")
    }

    /// Says whom the node tells what happens to it. Once.
    pub fn set_events(&self, _gs: &GsAccess, events: &Arc<Events>) {
        let first = self.events.set(Arc::clone(events));
        debug_assert!(first.is_ok(), "a node is in one block layer");
    }

    /// Whom the node tells what happens to it.
    pub(crate) fn events(&self) -> Option<&Events> {
        self.events.get().map(|events| &**events)
    }

    /// Notes that the length is about to change.
    pub(crate) fn begin_resize(&self) -> Option<Resizing<'_>> {
        let events = self.events.get()?;
        Some(events.resizes().begin(self.uid))
    }

    /// Which node this is.
    pub fn uid(&self) -> NodeUid {
        self.uid
    }

    /// The name, for messages (`bdrv_get_node_name`).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The driver's I/O half.
    pub fn driver(&self) -> &dyn DriverIo {
        &*self.driver
    }

    /// What the driver can do.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Where the node's own file descriptors, timers and bottom halves live
    /// (`bdrv_get_aio_context`). Requests run where they are submitted.
    pub fn context(&self) -> AioContext {
        self.home.context()
    }

    /// Runs `task` in the node's context, and in the new one after the node
    /// has moved.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.home.spawn(task)
    }

    /// Moves the node's home (`bdrv_attach_aio_context`).
    pub fn set_context(&self, _gs: &GsAccess, context: AioContext) {
        self.home.set(context);
    }

    /// Keeps the node from beginning anything on its own account.
    pub fn close(&self, _gs: &GsAccess) {
        self.gate.close();
    }

    /// Takes one [`close`](IoNode::close) back.
    ///
    /// # Panics
    /// When there was none.
    pub fn open(&self, _gs: &GsAccess) {
        self.gate.open();
    }

    /// How many activities of the node's own are in flight.
    pub fn in_flight(&self) -> u64 {
        self.gate.in_flight()
    }

    /// Ready when none is; see [`Gate::poll_idle`].
    pub fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.gate.poll_idle(cx)
    }

    /// The door in front of the node's own activities.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The length in bytes as of the last look (`bs->total_sectors`, which
    /// counts sectors). Of a node that requests skip, the last look may be
    /// long ago: `block_gs::Node::length` follows the path of requests.
    pub fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// Notes a length that has been found out since `noted` was the noted
    /// one. Says no when another one has been noted meanwhile: then what was
    /// found out may be out of date, and has to be found out again. Nobody
    /// knows who has written what is new, so bitmaps have it as dirty.
    pub(crate) fn replace_length(&self, noted: u64, bytes: u64) -> Result<bool, IoError> {
        block_common::limits::check_request(0, bytes)?;
        let length = &self.length;
        let replaced = length.compare_exchange(noted, bytes, Ordering::AcqRel, Ordering::Relaxed);
        if replaced.is_ok() && bytes != noted && self.is_recorded() {
            let unknown = noted..bytes.max(noted);
            self.bitmaps.resized(&unknown, || self.length());
        }
        Ok(replaced.is_ok())
    }

    /// Notes that the node is about to become no longer than `bytes`, and that
    /// how long it is has to be asked until then.
    pub(crate) fn expect_cut(&self, bytes: u64) {
        self.length_in_doubt.store(true, Ordering::Release);
        self.length.fetch_min(bytes, Ordering::AcqRel);
    }

    /// Lets bitmaps forget what has been cut off.
    pub(crate) fn cut_bitmaps(&self) {
        if self.is_recorded() {
            self.bitmaps.resized(&(0..0), || self.length());
        }
    }

    /// Notes that a write has reached `end`. Bitmaps have what is new as clean,
    /// until whoever has written there says what.
    pub(crate) fn grow_to(&self, end: u64) {
        let before = self.length.fetch_max(end, Ordering::AcqRel);
        if before < end && self.is_recorded() {
            self.bitmaps.resized(&(0..0), || self.length());
        }
    }

    /// Notes that a write up to `end` has failed or was cancelled: what it has
    /// made longer, and may still, nobody will report. From now on the length
    /// is asked for where it matters.
    pub(crate) fn doubt_length(&self, end: u64) {
        if end > self.length() {
            self.length_in_doubt.store(true, Ordering::Release);
        }
    }

    /// Whether the noted length may not be the real one.
    pub(crate) fn has_uncertain_length(&self) -> bool {
        self.capabilities.variable_length || self.length_in_doubt.load(Ordering::Acquire)
    }

    /// How the node treats requests.
    pub fn flags(&self) -> NodeFlags {
        NodeFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    /// Changes how the node treats requests. For a flag that requests cannot
    /// skip, `block-gs` finds their paths anew afterwards.
    pub fn set_flag(&self, _gs: &GsAccess, flag: NodeFlags, on: bool) {
        match on {
            true => self.flags.fetch_or(flag.bits(), Ordering::Relaxed),
            false => self.flags.fetch_and(!flag.bits(), Ordering::Relaxed),
        };
    }

    /// Whether the node is open for reading only (`bdrv_is_read_only`).
    pub fn is_read_only(&self) -> bool {
        self.flags().contains(NodeFlags::READ_ONLY)
    }

    /// Whether the node can be written to: it is open for that, and not owned
    /// by another process (`bdrv_is_writable`).
    pub fn is_writable(&self) -> bool {
        let kept_from = NodeFlags::READ_ONLY | NodeFlags::INACTIVE;
        !self.flags().intersects(kept_from)
    }

    /// Whether requests may skip this node.
    pub fn is_transparent(&self) -> bool {
        self.capabilities.passes_through && !self.flags().intersects(NodeFlags::SEES_REQUESTS)
    }

    /// Whether reads need not look at what else is in flight.
    pub(crate) fn has_plain_reads(&self) -> bool {
        !self.flags().contains(NodeFlags::TRACKED) && self.overlaps.is_quiet()
    }

    /// Whether writes need not look at anything but their range.
    pub(crate) fn has_plain_writes(&self) -> bool {
        !self.flags().intersects(NodeFlags::SLOW_WRITES) && self.overlaps.is_quiet()
    }

    /// What is in flight, by range.
    pub(crate) fn overlaps(&self) -> &Overlaps {
        &self.overlaps
    }

    /// Whether writes do not have to be entered among what is in flight.
    pub(crate) fn tracks_nothing(&self) -> bool {
        self.has_plain_reads()
    }

    fn is_recorded(&self) -> bool {
        self.flags().contains(NodeFlags::RECORDED)
    }

    /// Notes in the dirty bitmaps that `range` may have been changed.
    pub(crate) fn note_dirty(&self, range: &Range<u64>) {
        if self.is_recorded() {
            self.bitmaps.note(range, || self.length());
        }
    }

    /// What is known to be data, if somebody looks for holes.
    pub(crate) fn status_cache(&self) -> &StatusCache {
        &self.status
    }

    /// The dirty bitmaps.
    pub(crate) fn bitmaps(&self) -> &DirtyBitmaps {
        &self.bitmaps
    }

    /// The dirty bitmaps, for the global state.
    pub fn dirty_bitmaps(&self, _gs: &GsAccess) -> &DirtyBitmaps {
        &self.bitmaps
    }

    /// Notes the end of a write, for the next flush. Others wait for nobody
    /// here: a flush covers what has ended before it began.
    pub(crate) fn note_written(&self) {
        if self.capabilities.flushes_to_disk {
            self.written.fetch_add(1, Ordering::Release);
        }
    }

    /// How many writes have ended.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// How many writes are durable.
    pub(crate) fn flushed(&self) -> u64 {
        self.flushed.load(Ordering::Acquire)
    }

    /// The first `written` writes are durable.
    pub(crate) fn note_flushed(&self, written: u64) {
        self.flushed.fetch_max(written, Ordering::Release);
    }

    /// The turn of flushes.
    pub(crate) fn flushes(&self) -> &Overlaps {
        &self.flushes
    }

    /// Tells `tell`, once, when a write or discard ends beyond `bytes`
    /// (`bdrv_write_threshold_set`); 0 tells nobody.
    pub fn set_threshold(&self, gs: &GsAccess, bytes: u64, tell: OnThreshold) {
        let new = (bytes > 0).then_some(Threshold { bytes, tell });
        self.set_flag(gs, NodeFlags::WATCHED, new.is_some());
        let before = std::mem::replace(&mut *self.threshold.lock(), new);
        drop(before);
    }

    /// The threshold that is set, else 0.
    pub fn threshold(&self) -> u64 {
        self.threshold.lock().as_ref().map_or(0, |set| set.bytes)
    }

    /// Tells whoever waits for it that a write is about to reach beyond the
    /// threshold.
    pub(crate) fn watch(&self, range: &Range<u64>) {
        if !self.flags().contains(NodeFlags::WATCHED) {
            return;
        }
        let mut threshold = self.threshold.lock();
        let exceeded = threshold.take_if(|threshold| range.end > threshold.bytes);
        drop(threshold);
        if let Some(Threshold { bytes, tell }) = exceeded {
            tell(&self.name, range.end - bytes, bytes);
        }
    }

    pub(crate) fn children_cell(&self) -> &GraphCell<Children> {
        &self.children
    }

    pub(crate) fn limits_cell(&self) -> &GraphCell<BlockLimits> {
        &self.limits
    }
}

#[cfg(all(test, not(block_loom)))]
pub(crate) mod tests {
    use super::*;
    use crate::aio::EventLoop;
    use crate::{Destination, IoFuture, Request};
    use block_common::bitmap::HBitmap;

    struct Null;

    impl DriverIo for Null {
        fn read<'r>(
            &'r self,
            _request: Request<'r>,
            _offset: u64,
            mut into: Destination<'r>,
        ) -> IoFuture<'r> {
            into.fill(0xdd);
            IoFuture::done()
        }

        fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
            IoFuture::ready(Ok(1024))
        }
    }

    pub(crate) fn null_node(name: &str) -> Arc<IoNode> {
        let context = EventLoop::new("test")
            .expect("an event loop")
            .context()
            .clone();
        let node = IoNode::new(
            NodeIdentity::fresh(),
            name,
            Arc::new(Null),
            context,
            NodeFlags::empty(),
        );
        assert!(matches!(node.replace_length(0, 1024), Ok(true)));
        node
    }

    #[test]
    fn what_changes_is_noted_where_somebody_wants_to_know() {
        let context = EventLoop::new("test").expect("an event loop");
        let context = context.context();
        for (flags, noted) in [
            (NodeFlags::RECORDED, Some(512..1024)),
            (NodeFlags::empty(), None),
        ] {
            let driver = Arc::new(Null);
            let context = context.clone();
            let node = IoNode::new(NodeIdentity::fresh(), "n", driver, context, flags);
            assert!(matches!(node.replace_length(0, 1024), Ok(true)));
            let contents = HBitmap::new(1024, 9).expect("a bitmap");
            let id = node.bitmaps().add_released(contents, true);
            node.note_dirty(&(600..601));
            let areas = |bitmap: &HBitmap| bitmap.areas(0..1024).collect();
            let dirty: Vec<Range<u64>> = node.bitmaps().read(id, areas);
            assert_eq!(dirty, Vec::from_iter(noted));
        }
    }
}
