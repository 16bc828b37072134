//! The end of a task, made visible to its loop.
//!
//! **Fenced module**, for one pin projection. A loop keeps a waker of each of its tasks, to drop
//! those that are left when it ends. It has to know when a task is over, and a task cell does not
//! tell. So each future is wrapped with a mark that is dropped right after it.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_task::Runnable;

thread_local! {
    static DROPPED: Cell<bool> = const { Cell::new(false) };
}

/// A future whose drop is noticed by the [`run`] around it.
pub(super) struct Tracked<F> {
    // Dropped in this order: nothing of the future may run after the mark.
    future: F,
    _mark: Mark,
}

struct Mark;

impl<F> Tracked<F> {
    pub(super) fn new(future: F) -> Self {
        Tracked {
            future,
            _mark: Mark,
        }
    }
}

impl<F: Future> Future for Tracked<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned whenever the whole is. It is never moved out of its place,
        // `Tracked` has no destructor of its own, and it is `Unpin` only if the future is.
        unsafe { self.map_unchecked_mut(|tracked| &mut tracked.future) }.poll(cx)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let _ = DROPPED.try_with(|dropped| dropped.set(true));
    }
}

/// Runs a task whose future is [`Tracked`]; returns whether that was its end.
pub(super) fn run<M>(task: Runnable<M>) -> bool {
    DROPPED.set(false);
    task.run();
    DROPPED.replace(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::marker::PhantomPinned;

    fn task<F>(future: F) -> (Runnable, async_task::Task<()>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        async_task::spawn(Tracked::new(future), |_| ())
    }

    #[test]
    fn the_end_is_seen_and_nothing_else() {
        let (runnable, _task) = task(async {});
        assert!(run(runnable));

        let (runnable, handle) = task(pending());
        assert!(!run(runnable));
        handle.detach();

        let (runnable, handle) = task(pending());
        drop(handle);
        assert!(run(runnable), "cancelled before it ran");
    }

    #[test]
    fn a_task_that_ends_inside_another_does_not_mark_the_outer_one() {
        let (outer, handle) = task(async {
            let (inner, _handle) = task(async {});
            assert!(run(inner));
            pending::<()>().await;
        });
        assert!(!run(outer));
        handle.detach();
    }

    #[test]
    fn the_future_does_not_move_between_polls() {
        struct Fixed(Option<usize>, PhantomPinned);
        impl Future for Fixed {
            type Output = ();
            fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
                let address = &raw const *self as usize;
                // SAFETY: a `usize` is written in place, nothing is moved.
                let this = unsafe { self.get_unchecked_mut() };
                match this.0 {
                    None => {
                        this.0 = Some(address);
                        Poll::Pending
                    }
                    Some(before) => {
                        assert_eq!(before, address);
                        Poll::Ready(())
                    }
                }
            }
        }
        let mut tracked = Box::pin(Tracked::new(Fixed(None, PhantomPinned)));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(tracked.as_mut().poll(&mut cx).is_pending());
        let mut moved = tracked;
        assert!(moved.as_mut().poll(&mut cx).is_ready());
    }
}
