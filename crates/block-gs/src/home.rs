//! Functions for the main thread *or* the home thread.
//!
//! A few functions wait for I/O from outside a coroutine. They may be called
//! in two places: in the main loop, by the holder of `&mut BqlGuard`; and on
//! the thread at home in the backend's context, from a bottom half, which has
//! a `&mut HomeThread`. In QEMU these are the `IO_OR_GS_CODE` functions, and
//! the macro checks nothing. Here they take one of the two proofs, through
//! the sealed trait [`MainOrHome`].

use std::future::Future;

use block_common::IoError;
use block_io::aio::{AioContext, AioError, HomeThread, JoinHandle};
use block_io::{Destination, Root, Source};

use crate::{Backend, BqlGuard};

mod sealed {
    #[diagnostic::on_unimplemented(
        message = "`{Self}` is no proof of the main thread or of a home thread",
        label = "not a proof",
        note = "there are two: `BqlGuard`, lent by the main loop, and `HomeThread`, lent by an \
                event loop to its bottom halves; be generic over `MainOrHome` to take either"
    )]
    pub trait Sealed {}
    impl Sealed for super::BqlGuard {}
    impl Sealed for super::HomeThread<'_> {}
}

/// Proof that the caller is on the main loop or on a home thread, and not in
/// a coroutine: it may wait.
///
/// Implemented by [`BqlGuard`], which the main loop lends to what it runs,
/// and by [`HomeThread`], which an event loop lends to its bottom halves.
/// Sealed: there is no third place.
#[diagnostic::on_unimplemented(
    message = "waiting for I/O needs a proof of the main thread or of the home thread, and `{Self}` \
               is neither",
    label = "not a proof",
    note = "in the main loop pass the `&mut BqlGuard` that the callback got",
    note = "in an iothread schedule a bottom half with `AioContext::schedule` and pass the `&mut \
            HomeThread` that it gets; in async code `.await` the `Root` methods instead"
)]
pub trait MainOrHome: sealed::Sealed {
    /// Waits for `future`, running the event loop meanwhile.
    ///
    /// # Errors
    /// [`WaitError::WrongThread`] when `context` is neither this thread's nor
    /// may this thread wait for it.
    fn wait_for<T>(
        &mut self,
        context: &AioContext,
        future: impl Future<Output = T>,
    ) -> Result<T, WaitError>;
}

/// Why a thread cannot wait for something.
#[derive(Debug, thiserror::Error)]
#[must_use = "nothing was done"]
pub enum WaitError {
    /// An iothread would wait for something that is at home elsewhere; two
    /// iothreads that waited for each other would wait for ever.
    #[error(
        "this thread runs AioContext '{here}' and cannot wait for something at home in '{there}'; \
         only the main thread may"
    )]
    WrongThread {
        /// The context of this thread.
        here: String,
        /// The context of what it would wait for.
        there: String,
    },
    /// The event loop cannot be run from here.
    #[error(transparent)]
    EventLoop(#[from] AioError),
    /// The request failed.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl MainOrHome for BqlGuard {
    fn wait_for<T>(
        &mut self,
        _context: &AioContext,
        future: impl Future<Output = T>,
    ) -> Result<T, WaitError> {
        Ok(self.block_on(future))
    }
}

impl MainOrHome for HomeThread<'_> {
    fn wait_for<T>(
        &mut self,
        context: &AioContext,
        future: impl Future<Output = T>,
    ) -> Result<T, WaitError> {
        if self.context() != context {
            return Err(WaitError::WrongThread {
                here: self.context().name().to_owned(),
                there: context.name().to_owned(),
            });
        }
        Ok(self.block_on(future)?)
    }
}

impl Backend {
    /// Sends requests and waits for them: what QEMU generates as a wrapper
    /// around each coroutine (`blk_pwrite_zeroes`, `blk_pdiscard`,
    /// `blk_truncate`, `blk_eject`, ...) is one function here, for every
    /// method of the [`Root`](block_io::Root) and for several of them.
    ///
    /// Waiting takes a proof of the main thread or of the home thread; I/O
    /// code, which has neither, awaits the methods of the root.
    ///
    /// ```
    /// # use block_gs::{Backend, BqlGuard, WaitError};
    /// use block_io::WriteFlags;
    ///
    /// fn erase(disk: &Backend, bql: &mut BqlGuard) -> Result<(), WaitError> {
    ///     disk.wait(bql, async |root| {
    ///         root.make_zero(WriteFlags::MAY_UNMAP, |_, _| {}).await?;
    ///         root.flush().await
    ///     })
    /// }
    /// ```
    ///
    /// # Errors
    /// [`WaitError::WrongThread`] on a thread that is neither main nor the
    /// backend's home, otherwise [`WaitError::Io`].
    pub fn wait<T>(
        &self,
        at: &mut impl MainOrHome,
        requests: impl AsyncFnOnce(&Root) -> Result<T, IoError>,
    ) -> Result<T, WaitError> {
        let root = self.root();
        Ok(at.wait_for(&root.context(), requests(root))??)
    }

    /// Cancels a request of this backend, and waits until it has ended
    /// (`blk_aio_cancel`): to its result if it was faster. What takes no
    /// proof is [`JoinHandle::cancel_async`].
    ///
    /// # Errors
    /// [`WaitError::WrongThread`] on a thread that is neither main nor the
    /// backend's home; the request is cancelled all the same.
    pub fn cancel<T>(
        &self,
        at: &mut impl MainOrHome,
        request: JoinHandle<T>,
    ) -> Result<Option<T>, WaitError> {
        at.wait_for(&self.root().context(), request.cancel())
    }

    /// Reads and waits (`blk_pread`).
    ///
    /// # Errors
    /// [`WaitError::WrongThread`] on a thread that is neither main nor the
    /// backend's home, otherwise [`WaitError::Io`].
    pub fn read_blocking(
        &self,
        at: &mut impl MainOrHome,
        offset: u64,
        into: Destination<'_>,
    ) -> Result<(), WaitError> {
        let root = self.root();
        Ok(at.wait_for(&root.context(), root.read(offset, into))??)
    }

    /// Writes and waits (`blk_pwrite`).
    ///
    /// # Errors
    /// As [`read_blocking`](Backend::read_blocking).
    pub fn write_blocking(
        &self,
        at: &mut impl MainOrHome,
        offset: u64,
        from: Source<'_>,
    ) -> Result<(), WaitError> {
        let root = self.root();
        Ok(at.wait_for(&root.context(), root.write(offset, from))??)
    }

    /// Makes earlier writes durable, and waits (`blk_flush`).
    ///
    /// # Errors
    /// As [`read_blocking`](Backend::read_blocking).
    pub fn flush_blocking(&self, at: &mut impl MainOrHome) -> Result<(), WaitError> {
        let root = self.root();
        Ok(at.wait_for(&root.context(), root.flush())??)
    }

    /// The length of the node below in bytes (`blk_getlength`).
    ///
    /// # Errors
    /// As [`read_blocking`](Backend::read_blocking).
    pub fn length_blocking(&self, at: &mut impl MainOrHome) -> Result<u64, WaitError> {
        let root = self.root();
        Ok(at.wait_for(&root.context(), root.length())??)
    }
}
