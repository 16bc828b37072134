//! What stays counted when a request is dropped before its work has ended.

use std::ops::Range;

use crate::engine::Ticket;
use crate::{Activity, Request};

/// Something that goes on at a node although its request is gone: a transfer
/// that the kernel has not given up, or work on a worker thread. It is owned
/// by that work and dropped when nothing of it can happen any more. Until then
/// drained sections wait, and so does every later request for bytes that it
/// may still change: otherwise it could overwrite what was written, and
/// reported as written, after it.
#[derive(Debug)]
pub(crate) struct Lingering {
    changes: Option<(Ticket, Range<u64>)>,
    activity: Activity,
    /// Where else the work goes on.
    also: Option<Box<Lingering>>,
}

/// `request` is dropped, and what it has begun goes on: with the bytes of
/// `range` of its node, which it changes if `is_write`, or with none in
/// particular. Called while the request is still counted.
pub(crate) fn linger(request: Request<'_>, range: Option<Range<u64>>, is_write: bool) -> Lingering {
    let activity = request.activity();
    let changed = range.filter(|_| is_write);
    Lingering {
        changes: changed.map(|range| (request.node().overlaps().force(range.clone()), range)),
        activity,
        also: None,
    }
}

impl Lingering {
    /// The same work goes on at another node too.
    pub(crate) fn and(mut self, other: Option<Lingering>) -> Lingering {
        self.also = other.map(Box::new);
        self
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let Some((ticket, range)) = self.changes.take() {
            self.activity.end_after(|node| {
                node.status_cache().void(&range);
                node.note_dirty(&range);
                node.note_written();
                node.overlaps().leave(ticket);
            });
        }
    }
}

#[cfg(all(test, not(block_loom)))]
mod tests {
    use super::*;
    use crate::node::tests::null_node;

    #[test]
    fn what_was_data_while_something_went_on_is_not_known_to_be_when_it_ends() {
        let node = null_node("node");
        let request = Activity::try_begin(&node).expect("open");
        let goes_on = linger(request.request(), Some(0..512), true);
        drop(request);
        let look = node.status_cache().data_from(0).expect_err("nothing yet");
        node.status_cache().fill(&look, 0..1024);
        drop(goes_on);
        assert!(node.status_cache().data_from(0).is_err());
    }
}
