//! Event loops.

use super::{Scenario, differs, nearest, no_counterpart, same};

const ACTIVE: &str = "a descriptor is watched or not, none is watched without being waited for; a \
                      poll that must not wait says so";

const GLIB: &str = "the event loop is not part of another one; there is no GLib main loop here";

/// The event loop.
pub(super) const AIO: &[Scenario] = &[
    same("/aio/bh/schedule"),
    same("/aio/bh/schedule10"),
    differs(
        "/aio/bh/delete",
        "a bottom half that was scheduled runs; what can be called off is a task, which never \
         runs if it has not before",
    ),
    differs(
        "/aio/bh/callback-delete/one",
        "a bottom half is a closure that is called once and gone afterwards, so there is none \
         that has to delete itself",
    ),
    same("/aio/bh/flush"),
    same("/aio/event/add-remove"),
    differs("/aio/event/wait/no-flush-cb", ACTIVE),
    same("/aio/event/flush"),
    same("/aio/coroutine/queue-chaining"),
    same("/aio/coroutine/worker-thread-co-enter"),
    no_counterpart("/aio-gsource/bh/schedule", GLIB),
    no_counterpart("/aio-gsource/bh/schedule10", GLIB),
    no_counterpart("/aio-gsource/bh/delete", GLIB),
    no_counterpart("/aio-gsource/bh/callback-delete/one", GLIB),
    no_counterpart("/aio-gsource/bh/flush", GLIB),
    no_counterpart("/aio-gsource/event/add-remove", GLIB),
    no_counterpart("/aio-gsource/event/wait/no-flush-cb", GLIB),
    no_counterpart("/aio-gsource/event/flush", GLIB),
];

/// Several event loops.
pub(super) const AIO_MULTITHREAD: &[Scenario] = &[
    same("/aio/multi/lifecycle"),
    same("/aio/multi/schedule"),
    nearest(
        "/aio/multi/mutex/handoff",
        "tasks have no mutex of their own; what they take turns by is the order of overlapping \
         requests, and that is played with",
    ),
    no_counterpart(
        "/aio/multi/mutex/mcs",
        "the lock that is compared there exists in that test only, and there is no mutex of tasks \
         to compare it with",
    ),
];
