//! What I/O functions return.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use block_common::IoError;

use crate::after::After;
use crate::turn;

type Running<'r, T> = Pin<Box<dyn Future<Output = Result<T, IoError>> + Send + 'r>>;

/// The outcome of a request, now or later: a future of `Result<T, IoError>`.
///
/// An I/O function is called through `&dyn DriverIo`, so its future cannot be
/// a type of its own. Requests that complete at once, as on a null device or
/// in a cache, cost no allocation; the others one box, whatever the layer has
/// to do after the driver. The lifetime is that of the
/// [`Request`](crate::Request): the outcome cannot be awaited after the
/// request has ended. `Send`, so nothing that holds a global-state proof can
/// be inside.
#[must_use = "a request does nothing until it is awaited, and its result must be looked at"]
pub struct IoFuture<'r, T = ()>(Kind<'r, T>);

enum Kind<'r, T> {
    /// And whether it has given way to other tasks.
    Ready(Option<Result<T, IoError>>, bool),
    /// What comes after is dropped after the future is.
    Running(Running<'r, T>, Option<After<'r>>),
}

impl<'r> IoFuture<'r> {
    /// Done already, with success.
    pub const fn done() -> Self {
        IoFuture(Kind::Ready(Some(Ok(())), false))
    }
}

impl<'r, T> IoFuture<'r, T> {
    /// Over already.
    pub fn ready(outcome: Result<T, IoError>) -> Self {
        IoFuture(Kind::Ready(Some(outcome), false))
    }

    /// Over already, without success.
    pub fn failed(error: impl Into<IoError>) -> Self {
        IoFuture::ready(Err(error.into()))
    }

    /// To be awaited.
    pub fn new(future: impl Future<Output = Result<T, IoError>> + Send + 'r) -> Self {
        IoFuture(Kind::Running(Box::pin(future), None))
    }

    /// Whether the outcome is there without waiting.
    #[inline]
    pub fn is_ready(&self) -> bool {
        matches!(self.0, Kind::Ready(..))
    }

    /// The outcome if it is there without waiting, else the future again.
    ///
    /// # Errors
    /// The future itself, to be awaited.
    #[inline]
    pub fn into_ready(self) -> Result<Result<T, IoError>, Self> {
        match self.0 {
            Kind::Ready(Some(outcome), _) => Ok(outcome),
            other => Err(IoFuture(other)),
        }
    }

    /// Does what comes after the request, without another allocation.
    pub(crate) fn then(self, after: After<'r>) -> Self
    where
        T: Send + 'r,
    {
        match self.0 {
            Kind::Ready(outcome, gave_way) => {
                after.run(matches!(outcome, Some(Ok(_))));
                IoFuture(Kind::Ready(outcome, gave_way))
            }
            Kind::Running(running, None) => IoFuture(Kind::Running(running, Some(after))),
            Kind::Running(running, Some(before)) => {
                let inner = IoFuture(Kind::Running(running, Some(before)));
                IoFuture(Kind::Running(Box::pin(inner), Some(after)))
            }
        }
    }
}

impl<T> fmt::Debug for IoFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Ready(Some(_), _) => "IoFuture(done)",
            Kind::Ready(None, _) => "IoFuture(taken)",
            Kind::Running(..) => "IoFuture(running)",
        })
    }
}

// Nothing inside is pinned but what the box holds.
impl<T> Unpin for IoFuture<'_, T> {}

impl<T> Future for IoFuture<'_, T> {
    type Output = Result<T, IoError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            Kind::Ready(outcome, gave_way) => {
                // Whoever awaits one request after the other gets here.
                ready!(turn::poll(cx, gave_way));
                let outcome = outcome.take();
                Poll::Ready(outcome.expect("a future is not polled after it is done"))
            }
            Kind::Running(running, after) => {
                let outcome = ready!(running.as_mut().poll(cx));
                if let Some(after) = after.take() {
                    after.run(outcome.is_ok());
                }
                Poll::Ready(outcome)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use block_common::error::errno;

    use super::*;
    use crate::aio::EventLoop;

    #[test]
    fn a_request_that_was_given_up_fails_without_waiting() {
        let refused: IoFuture<'_, u64> = IoFuture::failed(IoError::from_errno(errno::EIO));
        let outcome = refused.into_ready().expect("it is over already");
        assert_eq!(outcome.expect_err("it has failed").errno(), errno::EIO);

        // Whoever awaits it gets there as by any other request, in his own time.
        let event_loop = EventLoop::new("test").expect("a loop");
        let context = event_loop.context().clone();
        let failed: IoFuture<'static> = IoFuture::failed(IoError::NotSupported);
        let task = context.spawn(failed);
        assert!(!task.is_finished(), "the submitter goes on first");
        let outcome = event_loop.block_on(task);
        assert!(matches!(outcome, Err(IoError::NotSupported)));
    }
}
