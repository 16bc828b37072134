//! `null-co` and `null-aio`: devices without contents.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use block_common::error::errno;
use block_common::limits;
use block_gs::{
    BlockDriver, BqlGuard, GraphError, Node, NodeBuilder, NodeOptions, NodeView, Value,
};
use block_io::aio::{sleep, yield_now};
use block_io::{BlockStatus, Destination, DriverIo, IoFuture, Request, Source, WriteFlags};

use crate::options::node_options;

/// Completes at once, without an allocation (driver `null-co`). For
/// measuring everything above it.
pub type NullCo = Null<false>;

/// Completes each request in a later turn of the event loop, as a device does
/// (driver `null-aio`): nothing is ever done when the function returns that
/// submitted it.
pub type NullAio = Null<true>;

/// What it has without being told, in bytes.
const DEFAULT_SIZE: u64 = 1 << 30;

/// How to open a [`NullCo`].
pub type NullCoOptions = NullOptions<false>;

/// How to open a [`NullAio`].
pub type NullAioOptions = NullOptions<true>;

/// A device that forgets what is written and reads as whatever was in the
/// buffer (`null.c`). Two drivers: [`NullCo`] and [`NullAio`].
///
/// A protocol driver without state: it needs no cell of either kind.
#[derive(Debug)]
pub struct Null<const LATER: bool> {
    size: u64,
    latency: Duration,
    read_zeroes: bool,
}

impl<const LATER: bool> Null<LATER> {
    /// A device of `size` bytes, to be opened.
    #[expect(
        clippy::new_ret_no_self,
        reason = "a driver is of use inside a node only"
    )]
    pub fn new(size: u64) -> NullOptions<LATER> {
        NullOptions::default().size(size)
    }

    /// When the latency has passed; without one when the driver does.
    fn complete<'r>(&self) -> IoFuture<'r> {
        let latency = self.latency;
        match (latency.is_zero(), LATER) {
            (true, false) => IoFuture::done(),
            (true, true) => IoFuture::new(async {
                yield_now().await;
                Ok(())
            }),
            (false, _) => IoFuture::new(async move {
                sleep(latency).await;
                Ok(())
            }),
        }
    }
}

/// How to open a [`NullCo`] or a [`NullAio`].
#[derive(Debug)]
#[must_use = "the node is made by `open`"]
pub struct NullOptions<const LATER: bool> {
    null: Null<LATER>,
    options: NodeOptions,
}

/// A device of 1 GiB without latency.
impl<const LATER: bool> Default for NullOptions<LATER> {
    fn default() -> Self {
        let null = Null {
            size: DEFAULT_SIZE,
            latency: Duration::ZERO,
            read_zeroes: false,
        };
        NullOptions {
            null,
            options: NodeOptions::default(),
        }
    }
}

impl<const LATER: bool> NullOptions<LATER> {
    /// Is this many bytes long (`size`).
    pub fn size(mut self, size: u64) -> Self {
        self.null.size = size;
        self
    }

    /// Completes each request this much later (`latency-ns`); as soon as the
    /// driver does if it is zero.
    pub fn latency(mut self, latency: Duration) -> Self {
        self.null.latency = latency;
        self
    }

    /// Reads as zeroes instead of leaving the buffer as it is
    /// (`read-zeroes`).
    pub fn read_zeroes(mut self, read_zeroes: bool) -> Self {
        self.null.read_zeroes = read_zeroes;
        self
    }

    node_options!(options);

    /// Makes the node. Needs the exclusive proof because a new node enters
    /// the graph.
    ///
    /// # Errors
    /// [`GraphError::CouldNotOpen`] for a size that no node can have; those
    /// of [`NodeBuilder::open`].
    pub fn open(self, bql: &mut BqlGuard, name: &str) -> Result<Node, GraphError> {
        limits::check_request(0, self.null.size).map_err(|error| GraphError::CouldNotOpen {
            name: name.to_owned(),
            error,
        })?;
        NodeBuilder::new(name)
            .options(self.options)
            .open(bql, Arc::new(self.null))
    }
}

impl<const LATER: bool> DriverIo for Null<LATER> {
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

    fn block_status<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        _precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        let status = match self.read_zeroes {
            true => BlockStatus::zero(bytes),
            false => BlockStatus::data(bytes),
        };
        IoFuture::ready(Ok(status.stored_at(request.node(), offset)))
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(self.size))
    }

    fn allocated_size<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(0))
    }
}

impl<const LATER: bool> BlockDriver for Null<LATER> {
    fn format_name(&self) -> &'static str {
        if LATER { "null-aio" } else { "null-co" }
    }

    fn reopens(&self) -> bool {
        true
    }

    /// A protocol and no host, if it is the device that one gets without
    /// options.
    fn filename(&self, bql: &BqlGuard, _node: NodeView<'_>) -> Option<String> {
        let is_plain = self.strong_options(bql).is_empty();
        is_plain.then(|| format!("{}://", self.format_name()))
    }

    fn strong_options(&self, _bql: &BqlGuard) -> Vec<(&'static str, Value)> {
        let size = (self.size != DEFAULT_SIZE).then_some(("size", self.size.into()));
        let zeroes = self.read_zeroes.then_some(("read-zeroes", true.into()));
        size.into_iter().chain(zeroes).collect()
    }
}
