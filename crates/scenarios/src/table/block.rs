//! The graph, requests in iothreads, backends.

use super::{Scenario, differs, nearest, no_counterpart, same};

const BITS: &str = "offsets are not signed: -2 is the number of the same bits, which is beyond \
                    the highest offset, and fails with the same errno before any I/O";

const JOB: &str = "there are no jobs yet: a parent that behaves as one stands in for it";

/// Permissions and changes of the graph.
pub(super) const BDRV_GRAPH_MOD: &[Scenario] = &[
    same("/bdrv-graph-mod/update-perm-tree"),
    same("/bdrv-graph-mod/should-update-child"),
    same("/bdrv-graph-mod/parallel-exclusive-write"),
    same("/bdrv-graph-mod/append-greedy-filter"),
];

/// Requests and moves across threads.
pub(super) const BLOCK_IOTHREAD: &[Scenario] = &[
    differs("/sync-op/pread", BITS),
    differs("/sync-op/pwrite", BITS),
    differs("/sync-op/pwritev", BITS),
    differs("/sync-op/preadv_part", BITS),
    differs("/sync-op/pwrite_compressed", BITS),
    differs("/sync-op/pwrite_zeroes", BITS),
    no_counterpart(
        "/sync-op/save_vmstate",
        "there are no snapshots, and so no place for the state of a machine",
    ),
    differs("/sync-op/pdiscard", BITS),
    same("/sync-op/block_status"),
    same("/sync-op/flush"),
    no_counterpart(
        "/sync-op/activate",
        "nothing makes a node inactive yet, so there is no function that activates one",
    ),
    differs("/attach/blockjob", JOB),
    same("/attach/preserve_blk_ctx"),
    differs(
        "/propagate/basic",
        "there is no blkverify driver: a node with the same two children stands in for it",
    ),
    differs("/propagate/mirror", JOB),
];

/// Backends without a node.
pub(super) const BLOCK_BACKEND: &[Scenario] = &[
    nearest(
        "/block-backend/drain_aio_error",
        "a drained section is over a node; the scenario is played with moving the backend, which \
         waits for its requests, with the same errno",
    ),
    nearest(
        "/block-backend/drain_all_aio_error",
        "a section over everything is one over all nodes; a backend without a node has nothing \
         that could change under its requests, which fail in their own time with the same errno",
    ),
];
