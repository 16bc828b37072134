//! Drained sections.

use super::{Scenario, differs, same};

const IN_A_TASK: &str = "a task opens no section: it asks the main loop for one and awaits what \
                         was done inside; what is drained, and how often, is the same";

const JOB: &str = "a job goes on when its event loop next turns, not inside the end of the section, \
                   which polls nothing";

const DETACH: &str = "a section waits for the request too, so it asks the main loop for the \
                      change and ends, and does not make it itself; the change is made in the \
                      middle of the opening all the same";

/// Drained sections.
pub(super) const BDRV_DRAIN: &[Scenario] = &[
    same("/bdrv-drain/driver-cb/drain_all"),
    same("/bdrv-drain/driver-cb/drain"),
    differs("/bdrv-drain/driver-cb/co/drain", IN_A_TASK),
    same("/bdrv-drain/quiesce/drain_all"),
    differs("/bdrv-drain/quiesce/co/drain_all", IN_A_TASK),
    differs("/bdrv-drain/quiesce/co/drain", IN_A_TASK),
    same("/bdrv-drain/graph-change/drain_all"),
    differs(
        "/bdrv-drain/iothread/drain_all",
        "I/O needs a counted request, so the flush in the home thread goes through the backend \
         and waits at its gate until the section ends; that the thread waits keeps the section \
         from nothing, because it runs its loop meanwhile",
    ),
    differs("/bdrv-drain/blockjob/drain_all", JOB),
    differs("/bdrv-drain/blockjob/drain", JOB),
    differs("/bdrv-drain/blockjob/error/drain", JOB),
    differs("/bdrv-drain/blockjob/iothread/drain_all", JOB),
    differs("/bdrv-drain/blockjob/iothread/error/drain_all", JOB),
    differs("/bdrv-drain/blockjob/iothread/error/drain", JOB),
    differs("/bdrv-drain/detach/drain_all", DETACH),
    differs("/bdrv-drain/detach/drain", DETACH),
    differs(
        "/bdrv-drain/detach/driver_cb",
        "an edge between nodes has no callback of its own, so it is the parent's driver that has \
         the change made; the sleep is something that the driver had begun before, because \
         callbacks begin nothing; the counters are those of the new graph",
    ),
    differs(
        "/bdrv-drain/attach/drain",
        "the overlay is quiesced by the change itself too, until the section of the change ends; \
         it is made in an inner one, after which the counters are QEMU's",
    ),
    differs("/bdrv-drain/blockjob/commit_by_drained_end", JOB),
    differs(
        "/bdrv-drain/bdrv_drop_intermediate/poll",
        "there is no function that drops intermediate nodes and none of a parent that polls in \
         the middle of a change: callbacks have a shared proof, with which that does not \
         compile; the section polls before the node is replaced by its backing image",
    ),
];
