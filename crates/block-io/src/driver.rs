//! What a driver does with requests.

use std::any::Any;

use block_common::IoError;

use crate::{Destination, IoFuture, Request, Source};

/// The I/O half of a driver (`BlockDriver`'s `bdrv_co_*` callbacks).
///
/// The functions run on whichever thread the request runs on, several at
/// once. They get a counted [`Request`] for their node and nothing else: no
/// proof of global state exists here, so a driver cannot change the graph,
/// take permissions or drain from an I/O function. What it needs of the graph
/// it asks of the request: [`Request::file`], [`Request::child`].
///
/// Offsets and lengths have been checked: a read lies within the node's
/// length, a write within what the node may grow to, both fit in `i32::MAX`
/// bytes, and neither is empty.
///
/// The global-state half is `block_gs::BlockDriver`.
pub trait DriverIo: Any + Send + Sync {
    /// Fills `into` with the bytes from `offset` on (`bdrv_co_preadv_part`).
    ///
    /// # Errors
    /// Nothing may be assumed about the contents of `into` afterwards.
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r, Result<(), IoError>>;

    /// Writes the bytes of `from` at `offset` (`bdrv_co_pwritev_part`).
    ///
    /// # Errors
    /// Each block then holds its old or its new bytes.
    fn write<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _from: Source<'r>,
    ) -> IoFuture<'r, Result<(), IoError>> {
        IoFuture::ready(Err(IoError::NotSupported))
    }

    /// Makes what was written before durable, here and below
    /// (`bdrv_co_flush`). A driver that keeps something itself writes it out
    /// and then calls [`Request::flush_children`], which is all that happens
    /// by default.
    ///
    /// # Errors
    /// Earlier writes may be lost in a crash.
    fn flush<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, Result<(), IoError>> {
        request.flush_children()
    }

    /// The node's length in bytes (`bdrv_co_getlength`).
    ///
    /// # Errors
    /// When it cannot be found out.
    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, Result<u64, IoError>>;
}
