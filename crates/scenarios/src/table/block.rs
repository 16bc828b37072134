//! The graph, requests in iothreads, backends.

use super::{Scenario, differs, same};

const BITS: &str = "offsets are not signed: -2 is the number of the same bits, which is beyond \
                    the highest offset, and fails with the same errno before any I/O";

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
    same("/sync-op/save_vmstate"),
    differs("/sync-op/pdiscard", BITS),
    same("/sync-op/block_status"),
    same("/sync-op/flush"),
    same("/sync-op/activate"),
    same("/attach/blockjob"),
    same("/attach/preserve_blk_ctx"),
    differs(
        "/propagate/basic",
        "there is no blkverify driver: a node with the same two children stands in for it",
    ),
    differs(
        "/propagate/mirror",
        "there is no mirror job yet: one that copies nothing holds the same nodes",
    ),
];

/// Backends without a node.
pub(super) const BLOCK_BACKEND: &[Scenario] = &[
    same("/block-backend/drain_aio_error"),
    same("/block-backend/drain_all_aio_error"),
];
