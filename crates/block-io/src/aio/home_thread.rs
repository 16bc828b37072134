//! The proof that code runs on an event loop and not in a coroutine.

use std::fmt;
use std::future::Future;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;

use super::event_loop::Local;
use super::fd::{self, FdRegistration, Interest, Ready};
use super::{AioContext, AioError, scoped};

/// Proof: this thread is on the event loop of one context, and not in a coroutine
/// (`in_aio_context_home_thread`).
///
/// Only the loop makes one. It lends it to bottom halves and file descriptor handlers for the time
/// they run. It is neither `Send` nor `Sync`, and a task never gets one, so a coroutine cannot
/// poll.
///
/// ```compile_fail
/// use block_io::aio::HomeThread;
/// fn sendable<T: Send>() {}
/// sendable::<HomeThread<'static>>();
/// ```
pub struct HomeThread<'a> {
    local: &'a Rc<Local>,
}

impl<'a> HomeThread<'a> {
    pub(super) fn new(local: &'a Rc<Local>) -> Self {
        HomeThread { local }
    }

    /// The context whose loop this is.
    pub fn context(&self) -> &AioContext {
        self.local.context()
    }

    /// Drives `future` to its end by polling this loop from inside one of its callbacks
    /// (`AIO_WAIT_WHILE` in the home thread). Everything else on the loop runs meanwhile; that is
    /// why it takes the proof exclusively.
    ///
    /// # Errors
    /// [`AioError::MainLoop`] on the main loop: what runs there may change the graph, so polling it
    /// takes the exclusive proof of the BQL.
    ///
    /// # Panics
    /// With the panic of `future`, or of a bottom half that runs meanwhile.
    pub fn block_on<F: Future>(&mut self, future: F) -> Result<F::Output, AioError> {
        if self.context().is_main() {
            return Err(AioError::MainLoop {
                name: self.context().name().to_owned(),
            });
        }
        Ok(scoped::block_on(self.local, future, || {}))
    }

    /// Calls `handler` whenever `fd` is ready for `interest`, until the registration is dropped
    /// (`aio_set_fd_handler`).
    ///
    /// Readiness is level-triggered. A handler may find that the event is gone, because another
    /// handler took it, and must not block then. A handler is not called from within itself, even
    /// when it polls. It may drop its own registration or those of others.
    ///
    /// # Errors
    /// [`AioError::Watch`] when the descriptor cannot be polled (a regular file) or is watched by
    /// this context already.
    pub fn set_fd_handler<F>(
        &mut self,
        fd: Arc<F>,
        interest: Interest,
        handler: impl FnMut(&mut HomeThread<'_>, Ready) + Send + 'static,
    ) -> Result<FdRegistration, AioError>
    where
        F: AsFd + Send + Sync + 'static,
    {
        fd::watch(self.local, fd, interest, Box::new(handler))
    }
}

impl fmt::Debug for HomeThread<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HomeThread").field(self.context()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The loop that it runs, which a caller would have to pass anyway.
    static_assertions::const_assert_eq!(
        size_of::<HomeThread<'static>>(),
        size_of::<&'static Rc<Local>>()
    );
}
