//! What the layer does when a driver is done with a request.

use crate::IoNode;
use crate::engine::Entered;

/// Bookkeeping at the end of a request (`bdrv_co_write_req_finish`). Dropping
/// it instead of running it is right for a request that was cancelled: the
/// entry leaves, and whatever may still reach the disk has entered by itself.
/// Either way the next flush covers what may have been written.
#[must_use = "made before the driver is asked, and run or dropped afterwards"]
#[derive(Debug)]
pub(crate) struct After<'r> {
    /// Where something may have been written.
    written: Option<&'r IoNode>,
    /// Where the write ends, if that is beyond the node's length.
    grow_to: Option<u64>,
    /// Others that overlap wait for it.
    _entered: Option<Entered<'r>>,
}

impl<'r> After<'r> {
    pub(crate) fn read(entered: Entered<'r>) -> Self {
        After {
            written: None,
            grow_to: None,
            _entered: Some(entered),
        }
    }

    pub(crate) fn write(
        node: &'r IoNode,
        grow_to: Option<u64>,
        entered: Option<Entered<'r>>,
    ) -> Self {
        After {
            written: Some(node),
            grow_to,
            _entered: entered,
        }
    }

    pub(crate) fn run(mut self, succeeded: bool) {
        if succeeded
            && let Some(node) = self.written
            && let Some(end) = self.grow_to.take()
        {
            node.grow_to(end);
        }
    }
}

impl Drop for After<'_> {
    /// Succeeded, failed or cancelled: something may have been written.
    fn drop(&mut self) {
        let Some(node) = self.written else { return };
        if let Some(end) = self.grow_to {
            node.doubt_length(end);
        }
        node.note_written();
    }
}
