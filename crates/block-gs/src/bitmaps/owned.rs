//! What jobs hold of bitmaps.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use block_common::bitmap::HBitmap;
use block_io::dirty::{BitmapReader, FrozenContents, Tracker};

use super::add::forget_unused;
use super::{DirtyBitmap, io};
use crate::layer::LayerShared;
use crate::{BqlGuard, Node};

/// A bitmap that stays as it is for a job, while its successor notes what is
/// written. The job decides at the end which of them stays: it cannot forget
/// to, nor do it twice, nor go on reading.
///
/// Dropped instead, on any thread, it is [reclaimed](FrozenBitmap::reclaim):
/// no write is forgotten.
///
/// ```compile_fail,E0382
/// # use block_gs::{BqlGuard, FrozenBitmap};
/// fn after_a_backup(bql: &mut BqlGuard, frozen: FrozenBitmap) {
///     frozen.abdicate(bql);
///     frozen.reclaim(bql);
/// }
/// ```
#[must_use = "the bitmap is reclaimed when this is dropped"]
#[derive(Debug)]
pub struct FrozenBitmap {
    contents: FrozenContents,
    bitmap: DirtyBitmap,
}

impl FrozenBitmap {
    pub(super) fn of(contents: FrozenContents, bitmap: DirtyBitmap) -> Self {
        FrozenBitmap { contents, bitmap }
    }

    /// The bitmap.
    pub fn bitmap(&self) -> &DirtyBitmap {
        &self.bitmap
    }

    /// A reader of what is frozen.
    pub fn reader(&self) -> BitmapReader {
        self.contents.reader().clone()
    }

    /// What is frozen, for keeps.
    pub fn snapshot(&self) -> HBitmap {
        self.contents.reader().snapshot()
    }

    /// Lets the successor note writes although the bitmap did not
    /// (`bdrv_dirty_bitmap_enable_successor`).
    pub fn enable_successor(&self, bql: &mut BqlGuard) {
        let bitmaps = io(bql, self.bitmap.node.key(bql));
        bitmaps.set_enabled(bql.access(), self.bitmap.id, true);
    }

    /// The successor takes the bitmap's place and name; what was frozen is
    /// forgotten: the job has copied it (`bdrv_dirty_bitmap_abdicate`).
    pub fn abdicate(self, bql: &mut BqlGuard) -> DirtyBitmap {
        self.contents.abdicate(bql.access());
        self.bitmap
    }

    /// The bitmap gets back what the successor has noted: the job has failed,
    /// and everything is still to be done (`bdrv_reclaim_dirty_bitmap`).
    pub fn reclaim(self, _bql: &mut BqlGuard) -> DirtyBitmap {
        self.bitmap
    }
}

/// A bitmap without a name, of whoever holds this; see [`Tracker`], which it
/// dereferences to. It may be dropped on any thread; the node's requests are
/// rid of it when the main loop next runs, or at once by
/// [`end`](WriteTracker::end).
#[must_use = "the bitmap goes when this is dropped"]
pub struct WriteTracker {
    tracker: Option<Tracker>,
    node: Node,
    layer: Arc<LayerShared>,
}

impl fmt::Debug for WriteTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriteTracker(of node '{}')", self.node.name())
    }
}

impl Deref for WriteTracker {
    type Target = Tracker;

    fn deref(&self) -> &Tracker {
        let tracker = self.tracker.as_ref();
        tracker.expect("there until the value ends")
    }
}

impl WriteTracker {
    pub(super) fn of(tracker: Tracker, node: Node, layer: Arc<LayerShared>) -> Self {
        WriteTracker {
            tracker: Some(tracker),
            node,
            layer,
        }
    }

    /// Whose writes are noted.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Removes the bitmap at once (`bdrv_release_dirty_bitmap`).
    ///
    /// # Panics
    /// When the node belongs to another block layer.
    pub fn end(mut self, bql: &mut BqlGuard) {
        self.tracker = None;
        forget_unused(bql, &self.node);
    }
}

impl Drop for WriteTracker {
    fn drop(&mut self) {
        if self.tracker.take().is_some() {
            let node = self.node.clone();
            let tidy = Box::new(move |bql: &mut BqlGuard| forget_unused(bql, &node));
            self.layer.schedule(tidy);
        }
    }
}
