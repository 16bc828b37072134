//! I/O of the owner of a drained section, inside it.
//!
//! **Fenced module.** The proof is the section, borrowed exclusively for the
//! whole time: its owner cannot write the graph while the request lives. What
//! the request leaves behind ([`Request::activity`]) may live longer; so every
//! section that was open meanwhile settles before it writes.

use std::sync::Arc;

use block_io::{Activity, Request};

use crate::graph::section::Section;
use crate::{BqlGuard, Node};

/// Runs `f` with a request for `node`, and the main loop until it is done.
pub(crate) fn run<T>(
    bql: &mut BqlGuard,
    node: &Node,
    section: &Section,
    f: impl AsyncFnOnce(Request<'_>) -> T,
) -> T {
    assert!(
        section.covers(node.key(bql)),
        "I/O inside a drained section is for the node that it drains"
    );
    bql.graph_mut().owner_io += 1;
    // SAFETY: the section covers the node and is the innermost: whatever was
    // opened inside it borrows it, and we hold that borrow now. The activity
    // is dropped before we return, the section and its owner's right to
    // write are borrowed by the caller until then.
    let activity = unsafe { Activity::begin_as_owner(Arc::clone(node.io())) };
    // The future owns the activity, so it ends with the request and not with
    // the poll: a section opened by a callback of this very poll waits for it
    // in a frame above ours.
    bql.block_on(async move {
        let outcome = f(activity.request()).await;
        drop(activity);
        outcome
    })
}
