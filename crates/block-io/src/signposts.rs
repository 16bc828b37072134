//! Signposts: where a newcomer tries to do I/O without a counted request.
//!
//! Reading through a node's handle does not compile, because I/O functions are
//! methods of [`Request`]. By itself the compiler would only say that the
//! handle has no such method. The methods here have the names that are tried,
//! and a bound that nothing meets; so the message says which proof is missing,
//! and who hands it out. None of them can be called, and so they stay out of
//! the documentation.
//!
//! They are written out: of a macro the compiler would show the inside.

use block_common::{Preallocation, WriteFlags};

use crate::{BlockStatus, Destination, InFlight, IoEdge, IoFuture, IoNode, Request, Source};

/// What would let a handle do I/O. Nothing implements it: [`Request`] has the
/// functions themselves.
#[diagnostic::on_unimplemented(
    message = "I/O takes a counted `Request`, and `{Self}` is none",
    label = "not a request",
    note = "a device: `root.begin().await` counts one, and its `.request()?` does the I/O",
    note = "a driver: each callback is given a `Request`; its `.file()` is the one of the child",
    note = "the owner of a drained section: `Drained::io` lends one"
)]
pub trait DoesIo<'r> {
    /// Shows that nothing implements it.
    fn never<T>(&self) -> T;
}

#[doc(hidden)]
impl IoNode {
    /// See [`Request::read`].
    pub fn read<'r>(&self, _: u64, _: Destination<'r>) -> IoFuture<'r>
    where
        Self: DoesIo<'r>,
    {
        self.never()
    }

    /// See [`Request::write`].
    pub fn write<'r>(&self, _: u64, _: Source<'r>) -> IoFuture<'r>
    where
        Self: DoesIo<'r>,
    {
        self.never()
    }

    /// See [`Request::write_with`].
    pub fn write_with<'r>(&self, _: u64, _: Source<'r>, _: WriteFlags) -> IoFuture<'r>
    where
        Self: DoesIo<'r>,
    {
        self.never()
    }

    /// See [`Request::write_zeroes`].
    pub fn write_zeroes<'r>(&self, _: u64, _: u64, _: WriteFlags) -> IoFuture<'r>
    where
        Self: DoesIo<'r>,
    {
        self.never()
    }

    /// See [`Request::discard`].
    pub fn discard<'r>(&self, _: u64, _: u64) -> IoFuture<'r>
    where
        Self: DoesIo<'r>,
    {
        self.never()
    }

    /// See [`Request::flush`].
    pub fn flush<'r>(&self) -> IoFuture<'r>
    where
        Self: DoesIo<'r>,
    {
        self.never()
    }

    /// See [`Request::truncate`].
    pub fn truncate<'r>(&self, _: u64, _: bool, _: Preallocation) -> IoFuture<'r>
    where
        Self: DoesIo<'r>,
    {
        self.never()
    }

    /// See [`Request::block_status`].
    pub fn block_status<'r>(&self, _: u64, _: u64, _: bool) -> IoFuture<'r, BlockStatus<'r>>
    where
        Self: DoesIo<'r>,
    {
        self.never()
    }
}

#[doc(hidden)]
impl InFlight<'_> {
    /// See [`Request::read`].
    pub fn read<'q>(&self, _: u64, _: Destination<'q>) -> IoFuture<'q>
    where
        Self: DoesIo<'q>,
    {
        self.never()
    }

    /// See [`Request::write`].
    pub fn write<'q>(&self, _: u64, _: Source<'q>) -> IoFuture<'q>
    where
        Self: DoesIo<'q>,
    {
        self.never()
    }

    /// See [`Request::write_with`].
    pub fn write_with<'q>(&self, _: u64, _: Source<'q>, _: WriteFlags) -> IoFuture<'q>
    where
        Self: DoesIo<'q>,
    {
        self.never()
    }

    /// See [`Request::write_zeroes`].
    pub fn write_zeroes<'q>(&self, _: u64, _: u64, _: WriteFlags) -> IoFuture<'q>
    where
        Self: DoesIo<'q>,
    {
        self.never()
    }

    /// See [`Request::discard`].
    pub fn discard<'q>(&self, _: u64, _: u64) -> IoFuture<'q>
    where
        Self: DoesIo<'q>,
    {
        self.never()
    }

    /// See [`Request::flush`].
    pub fn flush<'q>(&self) -> IoFuture<'q>
    where
        Self: DoesIo<'q>,
    {
        self.never()
    }

    /// See [`Request::truncate`].
    pub fn truncate<'q>(&self, _: u64, _: bool, _: Preallocation) -> IoFuture<'q>
    where
        Self: DoesIo<'q>,
    {
        self.never()
    }

    /// See [`Request::block_status`].
    pub fn block_status<'q>(&self, _: u64, _: u64, _: bool) -> IoFuture<'q, BlockStatus<'q>>
    where
        Self: DoesIo<'q>,
    {
        self.never()
    }
}

#[doc(hidden)]
impl IoEdge {
    /// See [`Request::file`].
    pub fn request<'r>(&self) -> Request<'r>
    where
        Self: DoesIo<'r>,
    {
        self.never()
    }
}
