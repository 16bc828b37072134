//! State that tasks wait for.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// A value, and those who wait for it to become something. Any thread.
#[derive(Default)]
pub struct Watch<T>(Mutex<Inner<T>>);

#[derive(Default)]
struct Inner<T> {
    value: T,
    waiting: Vec<Waker>,
}

impl<T> Watch<T> {
    /// A watched `value`.
    pub fn new(value: T) -> Self {
        Watch(Mutex::new(Inner {
            value,
            waiting: Vec::new(),
        }))
    }

    /// Looks at the value.
    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock().value)
    }

    /// Changes the value. Whoever waits looks again.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut inner = self.lock();
        let result = change(&mut inner.value);
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        waiting.into_iter().for_each(Waker::wake);
        result
    }

    /// Waits until `condition` holds.
    pub async fn until(&self, condition: impl Fn(&T) -> bool) {
        self.when(|value| condition(value).then_some(())).await;
    }

    /// Waits until `attempt` gives something. What it looks at and what it
    /// changes are one step for everybody else.
    pub async fn when<R>(&self, mut attempt: impl FnMut(&mut T) -> Option<R>) -> R {
        poll_fn(|cx| {
            let mut inner = self.lock();
            if let Some(result) = attempt(&mut inner.value) {
                return Poll::Ready(result);
            }
            inner.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: fmt::Debug> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.lock().value).finish()
    }
}
