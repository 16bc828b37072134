//! What a driver's I/O functions return.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The outcome of a request, now or later.
///
/// An I/O function is called through `&dyn DriverIo`, so its future cannot be
/// a type of its own. Requests that complete at once, as on a null device or
/// in a cache, cost no allocation; the others one box. The lifetime is that
/// of the [`Request`](crate::Request): the outcome cannot be awaited after
/// the request has ended. `Send`, so nothing that holds a global-state proof
/// can be inside.
#[must_use = "a request does nothing until it is awaited, and its result must be looked at"]
pub struct IoFuture<'r, T>(Kind<'r, T>);

enum Kind<'r, T> {
    Ready(Option<T>),
    Boxed(Pin<Box<dyn Future<Output = T> + Send + 'r>>),
}

impl<'r, T> IoFuture<'r, T> {
    /// Done already.
    pub fn ready(outcome: T) -> Self {
        IoFuture(Kind::Ready(Some(outcome)))
    }

    /// To be awaited.
    pub fn new(future: impl Future<Output = T> + Send + 'r) -> Self {
        IoFuture(Kind::Boxed(Box::pin(future)))
    }

    /// The outcome if it is there without waiting, else the future again.
    ///
    /// # Errors
    /// The future itself, to be awaited.
    pub fn into_ready(self) -> Result<T, Self> {
        match self.0 {
            Kind::Ready(Some(outcome)) => Ok(outcome),
            other => Err(IoFuture(other)),
        }
    }
}

impl<T> std::fmt::Debug for IoFuture<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Kind::Ready(Some(_)) => "IoFuture(done)",
            Kind::Ready(None) => "IoFuture(taken)",
            Kind::Boxed(_) => "IoFuture(running)",
        })
    }
}

impl<T: Unpin> Future for IoFuture<'_, T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.get_mut().0 {
            Kind::Ready(outcome) => Poll::Ready(
                outcome
                    .take()
                    .expect("a future is not polled after it is done"),
            ),
            Kind::Boxed(future) => future.as_mut().poll(cx),
        }
    }
}
