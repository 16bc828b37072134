//! Errors of the event loop.

use std::io;

/// What can go wrong when an event loop is made, entered, or asked for something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AioError {
    /// The kernel refused one of the descriptors a loop needs.
    #[error("Failed to create the event loop '{name}': {source}")]
    Create {
        /// Name of the context that was to be made.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A thread runs one event loop at a time.
    #[error(
        "This thread is already on the event loop of '{current}', so '{requested}' cannot be \
         entered or polled here; send it work through its AioContext instead"
    )]
    AlreadyEntered {
        /// The context the thread is on.
        current: String,
        /// The context that was to be entered.
        requested: String,
    },
    /// [`HomeThread::block_on`](super::HomeThread::block_on) on the main loop.
    #[error(
        "'{name}' is the main loop: polling it needs `&mut BqlGuard`, which a bottom half of this \
         kind does not have; schedule the work through the main loop's own handle instead"
    )]
    MainLoop {
        /// Name of the main context.
        name: String,
    },
    /// The descriptor cannot be watched (not pollable, or watched already).
    #[error("Failed to watch a file descriptor in '{name}': {source}")]
    Watch {
        /// Name of the context.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The operating system refused a thread.
    #[error("Failed to start thread '{name}': {source}")]
    StartThread {
        /// Name of the thread.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A thread would have to wait for its own end. It was asked to stop and will, unobserved.
    #[error("Thread '{name}' cannot wait for its own end; it stops once it is idle")]
    StopFromItself {
        /// Name of the thread.
        name: String,
    },
    /// A bottom half or file descriptor handler panicked and ended its thread.
    #[error("Thread '{name}' panicked")]
    ThreadPanicked {
        /// Name of the thread.
        name: String,
    },
}
