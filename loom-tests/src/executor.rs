//! Futures inside models.

use std::future::Future;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::{Condvar, Mutex};

/// Something a thread of a model sleeps on: an `eventfd`, or a parked thread.
///
/// Made of a lock and a condition variable, so that a wake-up that never comes
/// is a deadlock to loom. (`loom::future::block_on` wakes spuriously, which
/// adds interleavings and no insight.)
pub(crate) struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    pub fn new() -> Self {
        Signal {
            raised: Mutex::new(false),
            changed: Condvar::new(),
        }
    }

    /// Ends a wait, now or the next one.
    pub fn raise(&self) {
        *self.raised.lock().expect("not poisoned") = true;
        self.changed.notify_one();
    }

    /// Waits until the signal is raised, and takes it.
    pub fn wait(&self) {
        let mut raised = self.raised.lock().expect("not poisoned");
        while !*raised {
            raised = self.changed.wait(raised).expect("not poisoned");
        }
        *raised = false;
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.raise();
    }
}

/// Runs a future to its end on this thread of the model.
///
/// When loom reports a failure while the future runs, the future is leaked:
/// its destructor would use loom again, in the middle of the unwinding.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let signal = Arc::new(Signal::new());
    let waker = Waker::from(Arc::clone(&signal));
    let cx = &mut Context::from_waker(&waker);
    let mut future = ManuallyDrop::new(Box::pin(future));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            drop(ManuallyDrop::into_inner(future));
            return output;
        }
        signal.wait();
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
