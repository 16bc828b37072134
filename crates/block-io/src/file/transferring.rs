//! Transfers by an engine, in as many operations as it takes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use block_common::IoError;

use super::{FileIo, MAX_SEGMENTS};
use crate::aio::file::{FileOp, Payload};
use crate::linger::linger;
use crate::{Destination, Request, Source};

/// What is still to be transferred.
pub(super) enum Data<'r> {
    In(Destination<'r>),
    Out { from: Source<'r>, durable: bool },
}

impl Data<'_> {
    fn is_empty(&self) -> bool {
        match self {
            Data::In(into) => into.is_empty(),
            Data::Out { from, .. } => from.is_empty(),
        }
    }

    /// The kernel's share of what one operation can transfer.
    fn front(&self, max_bytes: usize) -> (usize, Payload) {
        match self {
            Data::In(into) => {
                let bytes = into.bytes_of(MAX_SEGMENTS).min(max_bytes);
                (bytes, Payload::Read(into.transfer(bytes)))
            }
            Data::Out { from, durable } => {
                let bytes = from.bytes_of(MAX_SEGMENTS).min(max_bytes);
                let memory = from.transfer(bytes);
                let durable = *durable;
                (bytes, Payload::Write { memory, durable })
            }
        }
    }

    fn advance(&mut self, bytes: usize) {
        match self {
            Data::In(into) => into.advance(bytes),
            Data::Out { from, .. } => (_, *from) = from.split_at(bytes),
        }
    }

    /// The kernel has transferred nothing.
    fn end(&mut self) -> Result<(), IoError> {
        match self {
            Data::In(into) => {
                into.fill(0);
                Ok(())
            }
            Data::Out { .. } => Err(io::Error::from(io::ErrorKind::WriteZero).into()),
        }
    }
}

/// Transfers everything.
pub(super) struct Transferring<'r> {
    file: &'r FileIo,
    request: Request<'r>,
    offset: u64,
    data: Data<'r>,
    /// The operation that is going on. Its bytes are the first of `data`,
    /// which is left alone meanwhile.
    op: Option<FileOp>,
    /// How many bytes it is about.
    op_bytes: usize,
}

impl<'r> Transferring<'r> {
    pub(super) fn new(file: &'r FileIo, request: Request<'r>, offset: u64, data: Data<'r>) -> Self {
        Transferring {
            file,
            request,
            offset,
            data,
            op: None,
            op_bytes: 0,
        }
    }

    fn next_op(&mut self) -> FileOp {
        let (bytes, payload) = self.data.front(self.file.max_bytes());
        self.op_bytes = bytes;
        let fd = Arc::clone(&self.file.fd);
        FileOp::new(self.file.engine_here(), fd, payload, self.offset)
    }
}

impl Future for Transferring<'_> {
    type Output = Result<(), IoError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while !this.data.is_empty() {
            if this.op.is_none() {
                this.op = Some(this.next_op());
            }
            let op = this.op.as_mut().expect("set just now");
            let outcome = ready!(op.poll(cx));
            this.op = None;
            // The memory is ours again.
            drop(outcome.payload);
            match outcome.result {
                Ok(0) => return Poll::Ready(this.data.end()),
                Ok(bytes) => {
                    this.offset += bytes as u64;
                    this.data.advance(bytes);
                    let ended = !bytes.is_multiple_of(this.file.block);
                    if ended && matches!(this.data, Data::In(_)) {
                        return Poll::Ready(this.data.end());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Transferring<'_> {
    fn drop(&mut self) {
        let Some(op) = self.op.take() else {
            return;
        };
        let range = self.offset..self.offset.saturating_add(self.op_bytes as u64);
        let is_write = matches!(self.data, Data::Out { .. });
        op.abandon(|| Box::new(linger(self.request, Some(range), is_write)));
    }
}
