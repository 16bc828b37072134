//! `null-co`: a device without contents.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use block_common::error::errno;
use block_common::limits;
use block_gs::{BlockDriver, BqlGuard, GraphError, Node, NodeBuilder};
use block_io::aio::sleep;
use block_io::{Destination, DriverIo, IoFuture, Request, Source, WriteFlags};

/// A device that forgets what is written and reads as whatever was in the
/// buffer (`null.c`, driver `null-co`). For measuring everything above it.
///
/// A protocol driver without state: it needs no cell of either kind.
#[derive(Debug)]
pub struct NullCo {
    size: u64,
    latency: Duration,
    read_zeroes: bool,
}

impl NullCo {
    /// A device of `size` bytes, to be opened.
    #[expect(
        clippy::new_ret_no_self,
        reason = "a driver is of use inside a node only"
    )]
    pub fn new(size: u64) -> NullCoOptions {
        NullCoOptions(NullCo {
            size,
            latency: Duration::ZERO,
            read_zeroes: false,
        })
    }

    /// At once, or when the latency has passed. Never an allocation in the
    /// first case.
    fn complete<'r>(&self) -> IoFuture<'r> {
        if self.latency.is_zero() {
            return IoFuture::done();
        }
        let latency = self.latency;
        IoFuture::new(async move {
            sleep(latency).await;
            Ok(())
        })
    }
}

/// How to open a [`NullCo`].
#[derive(Debug)]
#[must_use = "the node is made by `open`"]
pub struct NullCoOptions(NullCo);

impl NullCoOptions {
    /// Completes each request this much later (`latency-ns`); at once if it
    /// is zero.
    pub fn latency(mut self, latency: Duration) -> Self {
        self.0.latency = latency;
        self
    }

    /// Reads as zeroes instead of leaving the buffer as it is
    /// (`read-zeroes`).
    pub fn read_zeroes(mut self, read_zeroes: bool) -> Self {
        self.0.read_zeroes = read_zeroes;
        self
    }

    /// Makes the node. Needs the exclusive proof because a new node enters
    /// the graph.
    ///
    /// # Errors
    /// [`GraphError::CouldNotOpen`] for a size that no node can have; those
    /// of [`NodeBuilder::open`].
    pub fn open(self, bql: &mut BqlGuard, name: &str) -> Result<Node, GraphError> {
        limits::check_request(0, self.0.size).map_err(|error| GraphError::CouldNotOpen {
            name: name.to_owned(),
            error,
        })?;
        NodeBuilder::new(name).open(bql, Arc::new(self.0))
    }
}

impl DriverIo for NullCo {
    fn read<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        if self.read_zeroes {
            into.fill(0);
        }
        self.complete()
    }

    /// The size is fixed: a write that would make the device grow finds no
    /// space.
    fn write<'r>(
        &'r self,
        _request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        if offset + from.len() as u64 > self.size {
            let error = io::Error::from_raw_os_error(errno::ENOSPC);
            return IoFuture::ready(Err(error.into()));
        }
        self.complete()
    }

    fn flush<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r> {
        self.complete()
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(self.size))
    }
}

impl BlockDriver for NullCo {
    fn format_name(&self) -> &'static str {
        "null-co"
    }
}
