//! Work of a request that may outlive it.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::Request;
use crate::aio::Blocking;
use crate::aio::file::{FileOp, Keep, Outcome};
use crate::linger::linger;

/// Work that goes on when its future is dropped.
pub(super) trait Abandon: Unpin {
    type Output;

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Self::Output>;

    /// Nobody waits any more. What `keep` makes is dropped when nothing of the
    /// work can happen any more.
    fn abandon(self, keep: impl FnOnce() -> Keep);
}

impl Abandon for FileOp {
    type Output = Outcome;

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        FileOp::poll(self, cx)
    }

    fn abandon(self, keep: impl FnOnce() -> Keep) {
        FileOp::abandon(self, keep);
    }
}

impl<T> Abandon for Blocking<T> {
    type Output = T;

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(self).poll(cx)
    }

    fn abandon(self, keep: impl FnOnce() -> Keep) {
        Blocking::abandon(self, keep());
    }
}

/// Waits for `work`; keeps the request's node counted until it has ended.
pub(super) struct Guarded<'r, W: Abandon, F> {
    request: Request<'r>,
    changes: Option<Range<u64>>,
    /// Where else it reads what it writes.
    source: Option<(Request<'r>, Range<u64>)>,
    /// With what is to be done with its output. `None` when it has ended.
    work: Option<(W, F)>,
}

impl<'r, W: Abandon, F> Guarded<'r, W, F> {
    pub(super) fn new(request: Request<'r>, changes: Option<Range<u64>>, work: W, then: F) -> Self {
        Guarded {
            request,
            changes,
            source: None,
            work: Some((work, then)),
        }
    }

    /// The work reads these bytes of another node.
    pub(super) fn reading(mut self, source: Request<'r>, range: Range<u64>) -> Self {
        self.source = Some((source, range));
        self
    }
}

impl<T, W: Abandon, F: FnOnce(W::Output) -> T + Unpin> Future for Guarded<'_, W, F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let (work, _) = self.work.as_mut().expect("polled after it was ready");
        let output = ready!(work.poll(cx));
        let (_, then) = self.work.take().expect("polled just now");
        Poll::Ready(then(output))
    }
}

impl<W: Abandon, F> Drop for Guarded<'_, W, F> {
    fn drop(&mut self) {
        if let Some((work, _)) = self.work.take() {
            let changes = self.changes.take();
            let is_write = changes.is_some();
            // Whoever changes the source later would change what is written.
            let source = self.source.take();
            let source = source.map(|(source, range)| linger(source, Some(range), true));
            work.abandon(|| Box::new(linger(self.request, changes, is_write).and(source)));
        }
    }
}
