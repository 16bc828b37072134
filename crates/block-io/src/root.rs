//! Roots: where requests enter the graph and are counted.
//!
//! **Fenced module.** The proof is the [`InFlight`]: it is counted in the
//! gate of its root, and the edge below the root is replaced only while that
//! gate is closed and idle.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use block_common::{IoError, Preallocation, WriteFlags};

use crate::aio::{AioContext, Home, JoinHandle};
use crate::engine::{Count, Gate, GatedCell, shard_count, thread_shard};
use crate::front::Front;
use crate::{Destination, Events, GsAccess, IoEdge, Request, Source, turn};

/// The I/O half of a backend (`BlockBackend`): submits requests, from any
/// number of threads at once.
///
/// A cheap handle, `Send + Sync`. Which node is below it is decided by the
/// global-state half, `block_gs::Backend`.
#[derive(Clone)]
pub struct Root(Arc<Inner>);

struct Inner {
    name: String,
    below: GatedCell<Option<Arc<IoEdge>>>,
    home: Arc<Home>,
    grows: AtomicBool,
    writes_through: AtomicBool,
    front: Front,
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({})", self.0.name)
    }
}

impl Root {
    /// A root without a node, at home in `context`.
    pub fn new(name: &str, context: AioContext) -> Self {
        Root::telling(name, context, Arc::default())
    }

    /// As [`new`](Root::new), of a block layer that hears of its events.
    pub fn telling(name: &str, context: AioContext, events: Arc<Events>) -> Self {
        Root(Arc::new(Inner {
            name: name.to_owned(),
            below: GatedCell::new(shard_count(), None),
            home: Arc::new(Home::new(context)),
            grows: AtomicBool::new(false),
            writes_through: AtomicBool::new(false),
            front: Front::new(events),
        }))
    }

    /// What is not about requests.
    pub(crate) fn front(&self) -> &Front {
        &self.0.front
    }

    /// The name of the backend; empty for an unnamed one.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The context of the backend (`blk_get_aio_context`). Requests run where
    /// they are submitted; tasks [spawned](Root::spawn) here run in this one.
    pub fn context(&self) -> AioContext {
        self.0.home.context()
    }

    /// Moves the backend's home (`blk_set_aio_context`).
    pub fn set_context(&self, _gs: &GsAccess, context: AioContext) {
        self.0.home.set(context);
    }

    /// Runs `task` in the backend's context, and in the new one after the
    /// backend has moved.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.0.home.spawn(task)
    }

    /// Keeps new requests out (`blk_root_drained_begin`).
    pub fn close(&self, _gs: &GsAccess) {
        self.gate().close();
    }

    /// Takes one [`close`](Root::close) back; after the last one the parked
    /// requests run (`blk_root_drained_end`).
    ///
    /// # Panics
    /// When there was none.
    pub fn open(&self, _gs: &GsAccess) {
        self.gate().open();
    }

    /// How many reasons keep new requests out.
    pub fn quiesce_count(&self) -> u32 {
        self.gate().depth()
    }

    /// How many requests are in flight.
    pub fn in_flight(&self) -> u64 {
        self.gate().in_flight()
    }

    /// Ready when none is; see [`Gate::poll_idle`].
    pub fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.gate().poll_idle(cx)
    }

    fn gate(&self) -> &Gate {
        self.0.below.gate()
    }

    /// Begins a request: counts it, or waits until the root is no longer
    /// quiesced (`blk_inc_in_flight`, `blk_wait_while_drained`). Cancelled by
    /// dropping the future.
    ///
    /// Now and then it lets other tasks of the thread run first, so that
    /// requests which complete at once do not keep the thread to themselves.
    pub async fn begin(&self) -> InFlight<'_> {
        match self.begin_at_once() {
            Some(in_flight) => in_flight,
            None => self.begin_later().await,
        }
    }

    /// Begins a request if that takes neither waiting nor giving way.
    #[inline]
    fn begin_at_once(&self) -> Option<InFlight<'_>> {
        let count = self.gate().try_begin(turn::take()?)?;
        Some(InFlight {
            root: &self.0,
            count: Some(count),
        })
    }

    #[cold]
    async fn begin_later(&self) -> InFlight<'_> {
        let shard = match turn::take() {
            Some(shard) => shard,
            None => turn::give_way().await,
        };
        InFlight {
            root: &self.0,
            count: Some(self.gate().begin(shard).await),
        }
    }

    /// Begins a request unless the root is quiesced.
    pub fn try_begin(&self) -> Option<InFlight<'_>> {
        let count = self.gate().try_begin(thread_shard())?;
        Some(InFlight {
            root: &self.0,
            count: Some(count),
        })
    }

    /// Whether writes may end beyond the node (`allow_write_beyond_eof`).
    pub fn set_grows(&self, _gs: &GsAccess, grows: bool) {
        self.0.grows.store(grows, Ordering::Relaxed);
    }

    /// Whether a write is done before it is durable
    /// (`blk_set_enable_write_cache`). Without a write cache each write is as
    /// if it had [`WriteFlags::FUA`].
    pub fn set_write_cache(&self, _gs: &GsAccess, enabled: bool) {
        self.0.writes_through.store(!enabled, Ordering::Relaxed);
    }

    /// Whether there is a write cache (`blk_enable_write_cache`).
    pub fn has_write_cache(&self) -> bool {
        !self.0.writes_through.load(Ordering::Relaxed)
    }

    pub(crate) fn flags(&self, flags: WriteFlags) -> WriteFlags {
        match self.has_write_cache() {
            true => flags,
            false => flags | WriteFlags::FUA,
        }
    }

    fn may_grow(&self) -> bool {
        self.0.grows.load(Ordering::Relaxed)
    }

    /// One read, from beginning to end (`blk_co_preadv`).
    ///
    /// # Errors
    /// [`IoError::NoMedium`] without a node, [`IoError::BeyondEnd`] when the
    /// range ends beyond the node, otherwise those of [`Request::read`].
    pub async fn read(&self, offset: u64, into: Destination<'_>) -> Result<(), IoError> {
        let in_flight = match self.begin_at_once() {
            Some(in_flight) => in_flight,
            None => self.begin_later().await,
        };
        let request = in_flight.request()?;
        let bytes = into.len() as u64;
        if !ends_inside(request, offset, bytes) {
            check_end(request, offset, bytes).await?;
        }
        // Most are over by now, and need no future to be polled.
        let outcome = match request.read(offset, into).into_ready() {
            Ok(outcome) => outcome,
            Err(running) => running.await,
        };
        drop(in_flight);
        if turn::is_over() {
            turn::give_way().await;
        }
        outcome
    }

    /// One write, from beginning to end (`blk_co_pwritev`).
    ///
    /// # Errors
    /// [`IoError::NoMedium`] without a node, [`IoError::BeyondEnd`] when the
    /// range ends beyond the node, otherwise those of [`Request::write`].
    pub async fn write(&self, offset: u64, from: Source<'_>) -> Result<(), IoError> {
        self.write_with(offset, from, WriteFlags::empty()).await
    }

    /// As [`write`](Root::write), with flags.
    ///
    /// # Errors
    /// Those of [`Request::write_with`] too.
    pub async fn write_with(
        &self,
        offset: u64,
        from: Source<'_>,
        flags: WriteFlags,
    ) -> Result<(), IoError> {
        let in_flight = match self.begin_at_once() {
            Some(in_flight) => in_flight,
            None => self.begin_later().await,
        };
        let request = in_flight.request()?;
        let bytes = from.len() as u64;
        if !ends_inside(request, offset, bytes) && !self.may_grow() {
            check_end(request, offset, bytes).await?;
        }
        let running = request.write_with(offset, from, self.flags(flags));
        let outcome = match running.into_ready() {
            Ok(outcome) => outcome,
            Err(running) => running.await,
        };
        drop(in_flight);
        if turn::is_over() {
            turn::give_way().await;
        }
        outcome
    }

    /// One zero write, from beginning to end (`blk_co_pwrite_zeroes`).
    ///
    /// # Errors
    /// As [`write`](Root::write), and those of [`Request::write_zeroes`].
    pub async fn write_zeroes(
        &self,
        offset: u64,
        bytes: u64,
        flags: WriteFlags,
    ) -> Result<(), IoError> {
        let in_flight = self.begin().await;
        let request = in_flight.request()?;
        self.check_write(request, offset, bytes).await?;
        let flags = self.flags(flags);
        request.write_zeroes(offset, bytes, flags).await
    }

    /// One discard, from beginning to end (`blk_co_pdiscard`).
    ///
    /// # Errors
    /// As [`write`](Root::write), and those of [`Request::discard`].
    pub async fn discard(&self, offset: u64, bytes: u64) -> Result<(), IoError> {
        let in_flight = self.begin().await;
        let request = in_flight.request()?;
        self.check_write(request, offset, bytes).await?;
        request.discard(offset, bytes).await
    }

    /// Changes the length of the node below (`blk_co_truncate`). All devices
    /// above that node hear of it in the main loop, some time later.
    ///
    /// # Errors
    /// [`IoError::NoMedium`] without a node, otherwise those of
    /// [`Request::truncate`].
    pub async fn truncate(
        &self,
        length: u64,
        exact: bool,
        preallocation: Preallocation,
    ) -> Result<(), IoError> {
        let in_flight = self.begin().await;
        let request = in_flight.request()?;
        request.truncate(length, exact, preallocation).await
    }

    /// Makes earlier writes durable (`blk_co_flush`).
    ///
    /// # Errors
    /// [`IoError::NoMedium`] without a node, otherwise those of
    /// [`Request::flush`].
    pub async fn flush(&self) -> Result<(), IoError> {
        self.begin().await.request()?.flush().await
    }

    /// The length of the node below in bytes (`blk_co_getlength`).
    ///
    /// # Errors
    /// [`IoError::NoMedium`] without a node, otherwise those of
    /// [`Request::length`].
    pub async fn length(&self) -> Result<u64, IoError> {
        self.begin().await.request()?.length().await
    }

    pub(crate) async fn check_write(
        &self,
        request: Request<'_>,
        offset: u64,
        bytes: u64,
    ) -> Result<(), IoError> {
        if ends_inside(request, offset, bytes) || self.may_grow() {
            return Ok(());
        }
        check_end(request, offset, bytes).await
    }

    /// Replaces the edge below, and hands over one reason for which the gate
    /// is closed; see [`GatedCell::replace`].
    ///
    /// # Safety
    /// As [`GatedCell::replace`].
    pub unsafe fn replace_edge(
        &self,
        edge: Option<Arc<IoEdge>>,
        child_is_quiesced: bool,
    ) -> Option<Arc<IoEdge>> {
        // SAFETY: the contract is passed on.
        unsafe { self.0.below.replace(edge, child_is_quiesced) }
    }
}

/// A backend does not read or write beyond its node, a node's parent may.
#[inline]
pub(crate) fn ends_inside(request: Request<'_>, offset: u64, bytes: u64) -> bool {
    let end = offset.checked_add(bytes);
    end.is_some_and(|end| end <= request.node().length())
}

/// Perhaps the node has grown meanwhile.
#[cold]
pub(crate) async fn check_end(
    request: Request<'_>,
    offset: u64,
    bytes: u64,
) -> Result<(), IoError> {
    let length = request.length().await?;
    match offset.checked_add(bytes) {
        Some(end) if end <= length => Ok(()),
        _ => Err(IoError::BeyondEnd {
            offset,
            bytes,
            length,
        }),
    }
}

/// A request that has begun and is counted at its root.
///
/// No drained section above whose node this root stands completes before the
/// value is dropped. Borrowing it gives the [`Request`] that I/O functions
/// take. Forgetting it stops such drains for ever, and breaks nothing.
#[must_use = "the request ends when this is dropped; bind it to a name, `let _` drops it at once"]
pub struct InFlight<'a> {
    root: &'a Inner,
    count: Option<Count>,
}

impl fmt::Debug for InFlight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InFlight({})", self.root.name)
    }
}

impl InFlight<'_> {
    /// The proof, at the node below the root.
    ///
    /// # Errors
    /// [`IoError::NoMedium`] when there is none.
    #[inline]
    pub fn request(&self) -> Result<Request<'_>, IoError> {
        let Some(count) = &self.count else {
            return Err(IoError::NoMedium);
        };
        // SAFETY: `count` was begun at this root's gate; it is ended when we
        // are dropped, which the borrow of `self` excludes.
        let edge = unsafe { self.root.below.get(count) };
        let Some(edge) = edge.as_deref() else {
            return Err(IoError::NoMedium);
        };
        // SAFETY: `count` covers everything above the node that the edge of
        // its root leads to, and the root is the edge's parent.
        Ok(unsafe { Request::through(edge) })
    }
}

impl Drop for InFlight<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(count) = self.count.take() {
            self.root.below.gate().end(count);
        }
    }
}

#[cfg(all(test, not(block_loom)))]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use super::*;
    use crate::node::tests::null_node;
    use crate::{Buffer, Perm};

    // Where to give the count back, and nothing besides.
    static_assertions::const_assert_eq!(
        size_of::<InFlight<'static>>(),
        size_of::<(&'static Inner, Option<Count>)>()
    );

    fn root_over_null() -> Root {
        let node = null_node("null");
        let root = Root::new("r", node.context());
        root.gate().close();
        // SAFETY: just closed, nothing has begun yet, single thread.
        unsafe { root.replace_edge(Some(IoEdge::new("root", node, Perm::all())), false) };
        root
    }

    #[test]
    fn a_request_is_counted_until_its_proof_is_gone() {
        let root = root_over_null();
        let in_flight = root.try_begin().expect("open");
        assert_eq!(root.gate().in_flight(), 1);
        assert_eq!(in_flight.request().expect("a node").node().name(), "null");
        drop(in_flight);
        assert!(root.gate().is_idle());
    }

    #[test]
    fn without_a_node_there_is_no_medium() {
        let root = Root::new("empty", null_node("x").context());
        let in_flight = root.try_begin().expect("open");
        assert!(matches!(in_flight.request(), Err(IoError::NoMedium)));
    }

    #[test]
    fn a_backend_stays_within_its_node_and_a_parent_reads_zeroes_beyond() {
        let root = root_over_null();
        let in_flight = root.try_begin().expect("open");
        let request = in_flight.request().expect("a node");
        assert!(ends_inside(request, 1000, 24));
        assert!(!ends_inside(request, 1000, 25));
        assert!(!ends_inside(request, u64::MAX, 1));
        let mut buffer = Buffer::zeroed(48);
        buffer.as_mut_slice().fill(1);
        let mut read = request.read(1000, buffer.destination());
        let outcome = pin!(&mut read).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(outcome, Poll::Ready(Ok(()))));
        drop(read);
        assert!(buffer.as_slice()[..24].iter().all(|&byte| byte == 0xdd));
        assert!(buffer.as_slice()[24..].iter().all(|&byte| byte == 0));
    }
}
