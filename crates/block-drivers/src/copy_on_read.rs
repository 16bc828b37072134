//! `copy-on-read`: a filter that keeps what is read from backing images.

use std::sync::Arc;

use block_common::role::PermPair;
use block_gs::{
    BlockDriver, BqlGuard, ChildPermQuery, GraphError, Node, NodeBuilder, NodeOptions, Perm, Role,
};
use block_io::{Capabilities, Destination, DriverIo, IoFuture, Request, Source, WriteFlags};

use crate::forward::{AS_THE_CHILD, at_file, forward};
use crate::options::node_options;

/// Lets the child `file` keep whatever is read from its backing images
/// (`copy-on-read.c`).
///
/// A node of its own with permissions of its own: it asks to write what does
/// not change what a guest sees, so it may be put above a child that nobody
/// writes. (QEMU's older `copy-on-read=on` of a drive goes past the
/// permissions.)
#[derive(Debug)]
pub struct CopyOnRead(());

impl CopyOnRead {
    /// A filter over `node`, to be opened.
    pub fn over(node: &Node) -> CopyOnReadOptions {
        CopyOnReadOptions {
            file: node.clone(),
            options: NodeOptions::default(),
        }
    }

    /// Lets the child keep `bytes` bytes from `offset` on, for `request` at
    /// the filter, without reading them for anybody
    /// (`BDRV_REQ_PREFETCH`).
    ///
    /// # Errors
    /// Those of [`Request::populate`].
    pub fn populate(request: Request<'_>, offset: u64, bytes: u64) -> IoFuture<'_> {
        at_file(request, |file| file.populate(offset, bytes))
    }
}

/// How to open a [`CopyOnRead`].
#[derive(Clone, Debug)]
#[must_use = "the node is made by `open`"]
pub struct CopyOnReadOptions {
    file: Node,
    options: NodeOptions,
}

impl CopyOnReadOptions {
    node_options!(options);

    /// Makes the node. Needs the exclusive proof because a new node enters
    /// the graph.
    ///
    /// # Errors
    /// Those of [`NodeBuilder::open`].
    pub fn open(self, bql: &mut BqlGuard, name: &str) -> Result<Node, GraphError> {
        NodeBuilder::new(name)
            .options(self.options)
            .child("file", &self.file, Role::FILTERED | Role::PRIMARY)
            .open(bql, Arc::new(CopyOnRead(())))
    }
}

impl DriverIo for CopyOnRead {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            serialises_below: true,
            ..AS_THE_CHILD
        }
    }

    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        at_file(request, |file| file.read_and_keep(offset, into))
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        at_file(request, |file| file.write_with(offset, from, flags))
    }

    fn write_zeroes<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        at_file(request, |file| file.write_zeroes(offset, bytes, flags))
    }

    fn discard<'r>(&'r self, request: Request<'r>, offset: u64, bytes: u64) -> IoFuture<'r> {
        at_file(request, |file| file.discard(offset, bytes))
    }

    fn eject<'r>(&'r self, request: Request<'r>, open: bool) -> IoFuture<'r> {
        at_file(request, |file| file.eject(open))
    }

    fn lock_medium<'r>(&'r self, request: Request<'r>, locked: bool) -> IoFuture<'r> {
        at_file(request, |file| file.lock_medium(locked))
    }

    forward!(the_rest);
}

impl BlockDriver for CopyOnRead {
    fn format_name(&self) -> &'static str {
        "copy-on-read"
    }

    fn is_filter(&self) -> bool {
        true
    }

    /// What the parents do, and writes that change nothing; others may do
    /// those too.
    fn child_perm(&self, _bql: &BqlGuard, query: &ChildPermQuery<'_>) -> PermPair {
        let passed = Perm::CONSISTENT_READ | Perm::WRITE | Perm::RESIZE;
        let mut perm = query.cumulative.perm & passed;
        if !query.parent.inactive {
            perm |= Perm::WRITE_UNCHANGED;
        }
        PermPair {
            perm,
            shared: (query.cumulative.shared & passed) | Perm::WRITE_UNCHANGED,
        }
    }
}
