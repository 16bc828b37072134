//! Event loops.

use super::{Scenario, same};

/// The event loop.
pub(super) const AIO: &[Scenario] = &[
    same("/aio/bh/schedule"),
    same("/aio/bh/schedule10"),
    same("/aio/bh/delete"),
    same("/aio/bh/callback-delete/one"),
    same("/aio/bh/flush"),
    same("/aio/event/add-remove"),
    same("/aio/event/wait/no-flush-cb"),
    same("/aio/event/flush"),
    same("/aio/coroutine/queue-chaining"),
    same("/aio/coroutine/worker-thread-co-enter"),
    same("/aio-gsource/bh/schedule"),
    same("/aio-gsource/bh/schedule10"),
    same("/aio-gsource/bh/delete"),
    same("/aio-gsource/bh/callback-delete/one"),
    same("/aio-gsource/bh/flush"),
    same("/aio-gsource/event/add-remove"),
    same("/aio-gsource/event/wait/no-flush-cb"),
    same("/aio-gsource/event/flush"),
];

/// Several event loops.
pub(super) const AIO_MULTITHREAD: &[Scenario] = &[
    same("/aio/multi/lifecycle"),
    same("/aio/multi/schedule"),
    same("/aio/multi/mutex/handoff"),
    same("/aio/multi/mutex/mcs"),
];
