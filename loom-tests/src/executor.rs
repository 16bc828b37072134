//! Futures inside models.

use std::future::Future;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use block_common::sync::Signal;

/// A thread of a model that sleeps until it is woken.
///
/// (`loom::future::block_on` wakes spuriously, which adds interleavings and no
/// insight.)
#[derive(Default)]
pub(crate) struct Sleeping(Signal);

impl Sleeping {
    /// Sleeps until woken, now or since the last call.
    pub fn sleep(&self) {
        self.0.wait();
    }
}

impl Wake for Sleeping {
    fn wake(self: Arc<Self>) {
        self.0.raise();
    }
}

/// Runs a future to its end on this thread of the model.
///
/// When loom reports a failure while the future runs, the future is leaked:
/// its destructor would use loom again, in the middle of the unwinding.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let sleeping = Arc::new(Sleeping::default());
    let waker = Waker::from(Arc::clone(&sleeping));
    let cx = &mut Context::from_waker(&waker);
    let mut future = ManuallyDrop::new(Box::pin(future));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            drop(ManuallyDrop::into_inner(future));
            return output;
        }
        sleeping.sleep();
    }
}

/// Polls a future once with each of the wakers, then cancels it. `Some` when
/// it became ready before.
pub fn cancel_after<T>(
    future: impl Future<Output = T>,
    wakers: impl IntoIterator<Item = Waker>,
) -> Option<T> {
    let mut future = ManuallyDrop::new(Box::pin(future));
    let output = wakers.into_iter().find_map(|waker| {
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        match polled {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    });
    drop(ManuallyDrop::into_inner(future));
    output
}
