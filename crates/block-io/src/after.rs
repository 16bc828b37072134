//! What the layer does when a driver is done with a request.

use std::ops::Range;

use crate::IoNode;
use crate::engine::Entered;

/// Bookkeeping at the end of a request (`bdrv_co_write_req_finish`). Dropping
/// it instead of running it is right for a request that was cancelled: the
/// entry leaves, and whatever may still reach the disk has entered by itself.
/// Either way the next flush covers what may have been written, and dirty
/// bitmaps have it.
#[must_use = "made before the driver is asked, and run or dropped afterwards"]
#[derive(Debug)]
pub(crate) struct After<'r> {
    /// Where something may have been written.
    written: Option<&'r IoNode>,
    /// What may have been written there.
    start: u64,
    end: u64,
    /// The end may lie beyond the node's length.
    grows: bool,
    /// Where there may be no data any more.
    voided: Option<&'r IoNode>,
    /// Others that overlap wait for it.
    _entered: Option<Entered<'r>>,
}

impl<'r> After<'r> {
    pub(crate) fn read(entered: Entered<'r>) -> Self {
        After {
            written: None,
            start: 0,
            end: 0,
            grows: false,
            voided: None,
            _entered: Some(entered),
        }
    }

    /// For a request that changes `range` of `node`, and makes the node longer
    /// if it `grows` and ends beyond it.
    pub(crate) fn write(
        node: &'r IoNode,
        range: Range<u64>,
        grows: bool,
        entered: Option<Entered<'r>>,
    ) -> Self {
        After {
            written: Some(node),
            start: range.start,
            end: range.end,
            grows,
            voided: None,
            _entered: entered,
        }
    }

    /// As [`write`](After::write), for a request that may leave a hole.
    pub(crate) fn void(node: &'r IoNode, range: Range<u64>, grows: bool) -> Self {
        let mut after = After::write(node, range, grows, None);
        after.voided = Some(node);
        after
    }

    /// For a request that is no write, and may leave a hole all the same.
    pub(crate) fn void_only(node: &'r IoNode, range: Range<u64>) -> Self {
        After {
            written: None,
            start: range.start,
            end: range.end,
            grows: false,
            voided: Some(node),
            _entered: None,
        }
    }

    pub(crate) fn run(mut self, succeeded: bool) {
        if succeeded
            && let Some(node) = self.written
            && self.grows
        {
            node.grow_to(self.end);
            self.grows = false;
        }
    }
}

impl Drop for After<'_> {
    /// Succeeded, failed or cancelled: something may have been written.
    fn drop(&mut self) {
        if let Some(node) = self.voided {
            node.status_cache().void(&(self.start..self.end));
        }
        let Some(node) = self.written else { return };
        if self.grows {
            node.doubt_length(self.end);
        }
        node.note_dirty(&(self.start..self.end));
        node.note_written();
    }
}
