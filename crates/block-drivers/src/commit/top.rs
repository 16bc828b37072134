//! What is between an overlay and the image that it is committed into.

use std::sync::Arc;

use block_common::role::PermPair;
use block_gs::{BlockDriver, BqlGuard, ChildPermQuery, GraphError, Node, NodeBuilder, Perm, Role};
use block_io::{BlockStatus, Capabilities, Destination, DriverIo, IoFuture, Request};

/// Shows its backing image, and lets others write to that: what is written is
/// what the overlay has, so the overlay reads the same (`bdrv_commit_top`).
pub(super) struct CommitTop(());

impl CommitTop {
    /// Links to it cannot be frozen: it goes when the commit ends.
    pub(super) fn over(bql: &mut BqlGuard, backing: &Node) -> Result<Node, GraphError> {
        NodeBuilder::new("")
            .implicit(true)
            .never_freeze(true)
            .child("backing", backing, Role::FILTERED | Role::PRIMARY)
            .open(bql, Arc::new(CommitTop(())))
    }
}

fn at_backing<'r, T>(
    request: Request<'r>,
    f: impl FnOnce(Request<'r>) -> IoFuture<'r, T>,
) -> IoFuture<'r, T> {
    match request.backing() {
        Ok(backing) => f(backing),
        Err(error) => IoFuture::failed(error),
    }
}

impl DriverIo for CommitTop {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            filter: true,
            variable_length: true,
            ..Capabilities::default()
        }
    }

    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        at_backing(request, |backing| backing.read(offset, into))
    }

    fn block_status<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        at_backing(request, |backing| {
            backing.block_status(offset, bytes, precise)
        })
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        at_backing(request, Request::length)
    }
}

impl BlockDriver for CommitTop {
    fn format_name(&self) -> &'static str {
        "commit_top"
    }

    fn is_filter(&self) -> bool {
        true
    }

    fn filtered_child_is_backing(&self) -> bool {
        true
    }

    fn child_perm(&self, _bql: &BqlGuard, _query: &ChildPermQuery<'_>) -> PermPair {
        PermPair {
            perm: Perm::empty(),
            shared: Perm::all(),
        }
    }
}
