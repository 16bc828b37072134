//! What ends the sleep of a loop.

use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::OwnedFd;

/// Written to wake the loop. Watched edge-triggered and never read, so that a wake-up costs one
/// system call on either side.
///
/// A model cannot sleep in the kernel: all its threads are one to the kernel. There the loop
/// sleeps on a condition variable of the model checker.
pub(super) struct Alarm {
    fd: OwnedFd,
    #[cfg(block_loom)]
    model: block_common::sync::Signal,
}

impl Alarm {
    pub(super) fn new() -> rustix::io::Result<Alarm> {
        Ok(Alarm {
            fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            #[cfg(block_loom)]
            model: block_common::sync::Signal::new(),
        })
    }

    /// Ends the sleep that goes on or begins next.
    pub(super) fn raise(&self) {
        #[cfg(block_loom)]
        return self.model.raise();
        // Adding 1 to an eventfd fails only at 2^64 - 1, and then it is readable already.
        #[cfg(not(block_loom))]
        let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
    }

    /// Readable once raised.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Sleeps until raised.
    #[cfg(block_loom)]
    pub(super) fn wait(&self) {
        self.model.wait();
    }
}
