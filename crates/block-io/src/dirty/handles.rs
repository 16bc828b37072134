//! What whoever reads or owns a bitmap holds.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use block_common::bitmap::{HBitmap, MapError};

use super::BitmapId;
use crate::{GsAccess, IoNode};

/// Reads a bitmap, on any thread: for a job or an export. The bitmap is *busy*
/// while one exists: users can neither change nor remove it.
///
/// No function waits, and none returns anything that keeps the lock, so a
/// reader may be held, and read from, between any two `.await`s. What it says
/// is true at that moment: writes go on. For many questions about one moment
/// take a [`snapshot`](BitmapReader::snapshot).
///
/// Only the global state makes the first one of a bitmap (`block-gs`,
/// `DirtyBitmap::reader`); it can be cloned.
pub struct BitmapReader {
    node: Arc<IoNode>,
    id: BitmapId,
}

impl fmt::Debug for BitmapReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BitmapReader(of node '{}')", self.node.name())
    }
}

impl Clone for BitmapReader {
    fn clone(&self) -> Self {
        self.node.bitmaps().begin_use(self.id);
        BitmapReader {
            node: Arc::clone(&self.node),
            id: self.id,
        }
    }
}

impl Drop for BitmapReader {
    fn drop(&mut self) {
        self.node.bitmaps().end_use(self.id);
    }
}

impl BitmapReader {
    /// Makes the bitmap busy.
    pub fn new(_gs: &GsAccess, node: &Arc<IoNode>, id: BitmapId) -> Self {
        node.bitmaps().begin_use(id);
        BitmapReader {
            node: Arc::clone(node),
            id,
        }
    }

    fn read<R>(&self, f: impl FnOnce(&HBitmap) -> R) -> R {
        self.node.bitmaps().read(self.id, f)
    }

    /// What is dirty, as of now, for keeps. Costs nothing; what is written
    /// afterwards is copied then.
    pub fn snapshot(&self) -> HBitmap {
        self.read(HBitmap::clone)
    }

    /// How many bytes are dirty, in whole granules (`bdrv_get_dirty_count`).
    pub fn count(&self) -> u64 {
        self.read(HBitmap::count)
    }

    /// How many bytes the bitmap describes (`bdrv_dirty_bitmap_size`).
    pub fn size(&self) -> u64 {
        self.read(HBitmap::size)
    }

    /// How many bytes a bit stands for (`bdrv_dirty_bitmap_granularity`).
    pub fn granularity(&self) -> u64 {
        self.read(HBitmap::granularity)
    }

    /// Whether the byte at `at` is dirty (`bdrv_dirty_bitmap_get`).
    pub fn get(&self, at: u64) -> bool {
        self.read(|contents| contents.get(at))
    }

    /// The first dirty byte in `range` (`bdrv_dirty_bitmap_next_dirty`).
    pub fn next_dirty(&self, range: Range<u64>) -> Option<u64> {
        self.read(|contents| contents.next_dirty(range))
    }

    /// The first clean byte in `range` (`bdrv_dirty_bitmap_next_zero`).
    pub fn next_clean(&self, range: Range<u64>) -> Option<u64> {
        self.read(|contents| contents.next_clean(range))
    }

    /// The first dirty area in `range`, cut off after `most` bytes
    /// (`bdrv_dirty_bitmap_next_dirty_area`).
    pub fn next_dirty_area(&self, range: Range<u64>, most: u64) -> Option<Range<u64>> {
        self.read(|contents| contents.next_dirty_area(range, most))
    }

    /// Whether the first byte of `range` is dirty, and how far the same is
    /// true (`bdrv_dirty_bitmap_status`). `None` beyond the end.
    pub fn status(&self, range: Range<u64>) -> Option<(bool, Range<u64>)> {
        self.read(|contents| contents.status(range))
    }
}

/// A bitmap that stays as it is while its successor notes what is written.
/// Dropped on any thread, it gets back what the successor has noted, so no
/// write is forgotten. `block-gs` has a type around it that knows its name.
#[derive(Debug)]
pub struct FrozenContents(BitmapReader);

impl FrozenContents {
    /// Freezes a bitmap, unless it is frozen.
    pub fn new(_gs: &GsAccess, node: &Arc<IoNode>, id: BitmapId) -> Option<Self> {
        node.bitmaps().freeze(id)?;
        Some(FrozenContents(BitmapReader {
            node: Arc::clone(node),
            id,
        }))
    }

    /// Ends with the successor in the bitmap's place.
    pub fn abdicate(self, _gs: &GsAccess) {
        // Dropping it afterwards finds no successor.
        self.0.node.bitmaps().thaw(self.0.id, true);
    }

    /// A reader of what is frozen.
    pub fn reader(&self) -> &BitmapReader {
        &self.0
    }
}

impl Drop for FrozenContents {
    fn drop(&mut self) {
        self.0.node.bitmaps().thaw(self.0.id, false);
    }
}

/// A bitmap without a name, of whoever holds this: a job's list of what it
/// still has to copy. It goes when this is dropped.
///
/// Its owner changes it as it likes, on any thread; that takes no proof,
/// because nobody else can see it.
pub struct Tracker(BitmapReader);

impl fmt::Debug for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tracker(of node '{}')", self.0.node.name())
    }
}

impl Deref for Tracker {
    type Target = BitmapReader;

    fn deref(&self) -> &BitmapReader {
        &self.0
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        // It may have readers that stay.
        self.set_enabled(false);
    }
}

impl Tracker {
    /// Makes one.
    pub fn new(_gs: &GsAccess, node: &Arc<IoNode>, contents: HBitmap, enabled: bool) -> Self {
        let id = node.bitmaps().add_released(contents, enabled);
        let node = Arc::clone(node);
        Tracker(BitmapReader { node, id })
    }

    fn write<R>(&self, f: impl FnOnce(&mut HBitmap) -> R) -> R {
        self.0.node.bitmaps().write(self.0.id, f)
    }

    /// Whether writes are noted from now on; those in flight as soon as they
    /// end.
    pub fn set_enabled(&self, on: bool) {
        self.0.node.bitmaps().enable(self.0.id, on);
    }

    /// Makes granules dirty (`bdrv_set_dirty_bitmap`).
    pub fn set(&self, range: Range<u64>) {
        self.write(|contents| contents.set(range));
    }

    /// Makes whole granules clean (`bdrv_reset_dirty_bitmap`). Before what is
    /// there is read, not after: what is written meanwhile makes them dirty
    /// again.
    pub fn reset(&self, range: Range<u64>) {
        self.write(|contents| contents.reset(range));
    }

    /// Makes clean, and returns, the first dirty area in `range`, cut off
    /// after `most` bytes, in one step: no write is forgotten between looking
    /// and resetting.
    ///
    /// Granules are dirty or clean as a whole, so `range` and `most` should
    /// be made of whole ones: what is returned of others stays dirty.
    pub fn take_area(&self, range: Range<u64>, most: u64) -> Option<Range<u64>> {
        self.write(|contents| {
            let area = contents.next_dirty_area(range, most)?;
            contents.reset(area.clone());
            Some(area)
        })
    }

    /// Makes everything clean, and returns what was dirty.
    pub fn take(&self) -> HBitmap {
        self.write(|contents| {
            let taken = contents.clone();
            contents.reset_all();
            taken
        })
    }

    /// Makes dirty what is dirty in `other`.
    ///
    /// # Errors
    /// [`MapError::DifferentSizes`].
    pub fn merge(&self, other: &HBitmap) -> Result<(), MapError> {
        self.write(|contents| contents.merge(other))
    }
}
