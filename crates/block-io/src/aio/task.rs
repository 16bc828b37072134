//! Tasks: futures that a loop drives.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use async_task::{Builder, FallibleTask, Runnable};

use super::context::with_current;
use super::ready::Work;
use super::slots::Key;
use super::tracked::Tracked;
use super::{AioContext, Home};

/// Waits for the result of a task. Dropping it lets the task go on by itself.
///
/// # Panics
/// When polled: with the panic of the task, if that panicked; or because the task was dropped
/// before it finished, which happens when its context ends. [`cancel`](Self::cancel) is the way to
/// end a task early.
#[must_use = "dropping the handle detaches the task; await it for its result"]
pub struct JoinHandle<T> {
    task: Option<FallibleTask<T, TaskMeta>>,
}

impl<T> JoinHandle<T> {
    /// Asks the task to end: it does not run again, and its future is dropped in its context.
    /// Resolves once that has happened, to the result if the task was faster. Takes effect when
    /// first polled, or when dropped unpolled.
    pub fn cancel(mut self) -> impl Future<Output = Option<T>> {
        let task = self.task.take();
        async move { task?.cancel().await }
    }

    /// As [`cancel`](Self::cancel), without waiting: the task ends some time later, in its own
    /// context (`bdrv_aio_cancel_async`). Takes no proof, so a device may call it in any thread; to
    /// wait besides, await `cancel`, or on a thread that may block use `block_gs::Backend::cancel`.
    pub fn cancel_async(self) {
        drop(self.cancel());
    }

    /// Lets the task go on by itself, as dropping the handle does.
    pub fn detach(self) {}

    /// Whether the task has finished, panicked or was dropped.
    pub fn is_finished(&self) -> bool {
        self.task.as_ref().is_none_or(FallibleTask::is_finished)
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let task = self.task.as_mut().expect("taken only by `cancel`");
        let output = ready!(Pin::new(task).poll(cx));
        Poll::Ready(output.expect("the task was dropped unfinished because its AioContext ended"))
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("finished", &self.is_finished())
            .finish()
    }
}

/// Resolves when the task has finished or was dropped.
pub(super) fn ended(mut handle: JoinHandle<()>) -> impl Future<Output = ()> {
    let task = handle.task.take();
    async move {
        if let Some(task) = task {
            task.await;
        }
    }
}

/// Lets everything else that is ready run first; resumes at the next poll of the loop.
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// See [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// What each task carries: where it runs, and its place among the tasks of a fixed context.
pub(super) struct TaskMeta {
    target: Target,
    /// Used by the home thread only; an atomic because wakers on other threads share the cell.
    registration: AtomicU64,
}

/// Where the wake-ups of a task go.
pub(super) enum Target {
    Fixed(AioContext),
    Homed(Arc<Home>),
}

impl TaskMeta {
    /// Whether the task belongs, at this moment, to `context`.
    pub(super) fn runs_in(&self, context: &AioContext) -> bool {
        match &self.target {
            Target::Fixed(target) => target == context,
            Target::Homed(home) => home.is(context),
        }
    }

    /// Whether the task stays with one context, and so has to end with it.
    pub(super) fn is_fixed(&self) -> bool {
        matches!(self.target, Target::Fixed(_))
    }

    pub(super) fn registration(&self) -> Key {
        Key::from_u64(self.registration.load(Ordering::Relaxed))
    }

    pub(super) fn set_registration(&self, key: Key) {
        self.registration.store(key.as_u64(), Ordering::Relaxed);
    }
}

pub(super) fn spawn<F>(target: Target, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let meta = TaskMeta {
        target,
        registration: AtomicU64::new(Key::NONE.as_u64()),
    };
    let (runnable, task) = Builder::new()
        .metadata(meta)
        .propagate_panic(true)
        .spawn(|_| Tracked::new(future), schedule);
    runnable.schedule();
    JoinHandle {
        task: Some(task.fallible()),
    }
}

/// Puts a woken task where it belongs now. A function item rather than a closure: it takes no room
/// in the task, which spares a reference count on each wake-up.
fn schedule(runnable: Runnable<TaskMeta>) {
    let mut runnable = Some(runnable);
    with_current(|local| {
        let task = runnable.take().expect("not yet taken");
        match local {
            Some(local) if task.metadata().runs_in(local.context()) => local.push(Work::Task(task)),
            _ => runnable = Some(task),
        }
    });
    if let Some(task) = runnable {
        let context = match &task.metadata().target {
            Target::Fixed(context) => context.clone(),
            Target::Homed(home) => home.context(),
        };
        context.submit_remote(Work::Task(task));
    }
}
