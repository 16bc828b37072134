//! Transfers between a file and a buffer, for drivers of protocols.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use block_common::IoError;

use crate::aio::Engine;
use crate::aio::file as transfer;
use crate::buffer::CountedTransfer;
use crate::{Destination, Request, Source};

/// Reads once at `offset`, and gives the destination back. The number of
/// bytes may be less than asked for, and is 0 at the end of the file.
///
/// When the future is dropped early the kernel may go on writing to the
/// memory. Until it is done the buffer stays out of reach, and the request's
/// node is not idle.
pub async fn read_some<'b>(
    request: Request<'_>,
    engine: Engine,
    file: &Arc<OwnedFd>,
    offset: u64,
    into: Destination<'b>,
) -> (io::Result<usize>, Destination<'b>) {
    // Declared before the transfer, so dropped after it.
    let counted = CountedTransfer::into(request, &into);
    let memory = into.transfer();
    let (result, memory) = transfer::read_at(engine, Arc::clone(file), memory, offset).await;
    drop(memory);
    counted.end();
    (result, into)
}

/// Fills `into` from `offset` on; what lies beyond the end of the file reads
/// as zeroes.
///
/// # Errors
/// The kernel's.
pub async fn read(
    request: Request<'_>,
    engine: Engine,
    file: &Arc<OwnedFd>,
    mut offset: u64,
    mut into: Destination<'_>,
) -> Result<(), IoError> {
    while !into.is_empty() {
        let (result, rest) = read_some(request, engine, file, offset, into).await;
        into = rest;
        match result {
            Ok(0) => {
                into.fill(0);
                return Ok(());
            }
            Ok(bytes) => {
                offset += bytes as u64;
                (_, into) = into.split_at(bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes all of `from` at `offset`.
///
/// # Errors
/// The kernel's; [`IoError::Os`] with `WriteZero` when it takes nothing.
pub async fn write(
    request: Request<'_>,
    engine: Engine,
    file: &Arc<OwnedFd>,
    mut offset: u64,
    mut from: Source<'_>,
) -> Result<(), IoError> {
    while !from.is_empty() {
        let counted = CountedTransfer::out_of(request, from);
        let memory = from.transfer();
        let (result, memory) = transfer::write_at(engine, Arc::clone(file), memory, offset).await;
        drop(memory);
        counted.end();
        match result {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            Ok(bytes) => {
                offset += bytes as u64;
                (_, from) = from.split_at(bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Makes what was written before durable (`fdatasync`).
///
/// # Errors
/// The kernel's: earlier writes may be lost.
pub async fn sync(engine: Engine, file: &Arc<OwnedFd>) -> Result<(), IoError> {
    Ok(transfer::fsync(engine, Arc::clone(file), true).await?)
}
