//! A home that can move.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use block_common::sync::{AtomicPtr, Ordering, RwLock};

use super::context::Shared;
use super::task::{self, Target};
use super::{AioContext, JoinHandle};

/// The context in which a node, a backend or a job has its tasks at this moment
/// (`bdrv_get_aio_context`, `blk_get_aio_context`, `job->aio_context`).
///
/// Tasks [spawned](Home::spawn) in a home follow it: each wake-up goes to the context the home has
/// at that time. A task that was parked while its home moved resumes in the new context, and a
/// wake-up that raced with the move is passed on. What the type does not do is stop a task that is
/// *running* while the home moves; whoever moves a home drains its node first, as in QEMU.
pub struct Home {
    context: RwLock<AioContext>,
    /// Address of the context above, so that a wake-up can be compared without the lock.
    address: AtomicPtr<Shared>,
}

impl Home {
    /// A home that is `context` for now.
    pub fn new(context: AioContext) -> Home {
        Home {
            address: AtomicPtr::new(context.address().cast_mut()),
            context: RwLock::new(context),
        }
    }

    /// The context at this moment.
    pub fn context(&self) -> AioContext {
        self.context.read().clone()
    }

    /// Whether the home is `context` at this moment.
    pub fn is(&self, context: &AioContext) -> bool {
        std::ptr::eq(self.address.load(Ordering::Acquire), context.address())
    }

    /// Moves the home. Wake-ups from now on go to `context`.
    pub fn set(&self, context: AioContext) {
        let mut current = self.context.write();
        let address = context.address().cast_mut();
        let old = std::mem::replace(&mut *current, context);
        // Before `old` is dropped: its address may be given to another context afterwards.
        self.address.store(address, Ordering::Release);
        drop(current);
        drop(old);
    }

    /// Runs `future` as a task that follows this home. As [`AioContext::spawn`], except that a
    /// parked task outlives the context it was parked in: it is dropped only when woken while the
    /// home of that moment has ended.
    pub fn spawn<F>(self: &Arc<Self>, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        task::spawn(Target::Homed(Arc::clone(self)), future)
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Home").field(&self.context()).finish()
    }
}
