//! The bitmaps of one node.

use std::ops::Range;

use block_common::bitmap::{HBitmap, MapError};
use block_common::sync::Mutex;

use crate::GsAccess;

/// Which bitmap of a node. Never used twice for one node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BitmapId(u64);

/// What can be said about a bitmap at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BitmapState {
    /// How many bytes are dirty, in whole granules.
    pub count: u64,
    /// How many bytes it describes.
    pub size: u64,
    /// How many bytes a bit stands for.
    pub granularity: u64,
    /// Whether it notes writes itself (`!disabled`). Not while it is frozen.
    pub enabled: bool,
    /// Whether writes are noted, in it or in its successor (`recording`).
    pub recording: bool,
    /// Whether somebody reads it or has frozen it (`busy`).
    pub busy: bool,
    /// Whether it has a successor.
    pub frozen: bool,
}

/// Where writes are noted.
#[derive(Debug)]
enum Recording {
    /// In the bitmap itself, if it is enabled.
    Here { enabled: bool },
    /// The bitmap stays as it is; writes go to what will follow it.
    Successor { contents: HBitmap, enabled: bool },
}

#[derive(Debug)]
struct Entry {
    id: BitmapId,
    contents: HBitmap,
    recording: Recording,
    /// How many readers there are.
    uses: u32,
    /// It goes with its last reader.
    released: bool,
}

impl Entry {
    fn new(id: BitmapId, contents: HBitmap, enabled: bool) -> Self {
        Entry {
            id,
            contents,
            recording: Recording::Here { enabled },
            uses: 0,
            released: false,
        }
    }

    fn state(&self) -> BitmapState {
        let (enabled, recording, frozen) = match self.recording {
            Recording::Here { enabled } => (enabled, enabled, false),
            Recording::Successor { enabled, .. } => (false, enabled, true),
        };
        BitmapState {
            count: self.contents.count(),
            size: self.contents.size(),
            granularity: self.contents.granularity(),
            enabled,
            recording,
            busy: self.uses > 0,
            frozen,
        }
    }

    fn note(&mut self, range: &Range<u64>) {
        match &mut self.recording {
            Recording::Here { enabled: true } => self.contents.set(range.clone()),
            Recording::Successor {
                contents,
                enabled: true,
            } => contents.set(range.clone()),
            Recording::Here { .. } | Recording::Successor { .. } => {}
        }
    }

    fn resize(&mut self, length: u64) {
        resize(&mut self.contents, length);
        if let Recording::Successor { contents, .. } = &mut self.recording {
            resize(contents, length);
        }
    }
}

fn resize(contents: &mut HBitmap, length: u64) {
    if contents.size() != length {
        let resized = contents.truncate(length);
        resized.expect("no node is longer than a bitmap can be");
    }
}

fn like(contents: &HBitmap) -> HBitmap {
    let empty = HBitmap::new(contents.size(), contents.granularity_bits());
    empty.expect("there is one like it")
}

#[derive(Debug, Default)]
struct List {
    next: u64,
    entries: Vec<Entry>,
}

impl List {
    fn entry(&mut self, id: BitmapId) -> &mut Entry {
        let entry = self.entries.iter_mut().find(|entry| entry.id == id);
        entry.expect("a bitmap stays while somebody refers to it")
    }

    fn insert(&mut self, contents: HBitmap, enabled: bool) -> &mut Entry {
        let id = BitmapId(self.next);
        self.next += 1;
        self.entries.push(Entry::new(id, contents, enabled));
        self.entries.last_mut().expect("put there just now")
    }
}

/// All bitmaps of a node, under one lock that is held for as long as it takes
/// to set a few bits (`dirty_bitmap_mutex`).
///
/// Functions that name a bitmap are for whoever knows that it exists: for the
/// global state, which keeps the list of names, and for its readers.
#[derive(Debug, Default)]
pub struct DirtyBitmaps(Mutex<List>);

impl DirtyBitmaps {
    /// Notes a write (`bdrv_set_dirty`). `length` says how long the node is,
    /// which is asked under the lock: whoever made it longer may not have
    /// come here yet.
    pub(crate) fn note(&self, range: &Range<u64>, length: impl FnOnce() -> u64) {
        let mut list = self.0.lock();
        let length = length();
        for entry in &mut list.entries {
            if entry.contents.size() < length {
                entry.resize(length);
            }
            entry.note(range);
        }
    }

    /// The node has another length (`bdrv_dirty_bitmap_truncate`), and nobody
    /// knows where what lies in `unknown` comes from.
    pub(crate) fn resized(&self, unknown: &Range<u64>, length: impl FnOnce() -> u64) {
        let mut list = self.0.lock();
        let length = length();
        for entry in &mut list.entries {
            entry.resize(length);
            entry.note(unknown);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self, _gs: &GsAccess) -> bool {
        self.0.lock().entries.is_empty()
    }

    /// A new one (`bdrv_create_dirty_bitmap`), with these contents.
    pub fn add(&self, _gs: &GsAccess, contents: HBitmap, enabled: bool) -> BitmapId {
        self.0.lock().insert(contents, enabled).id
    }

    /// One that goes with its last reader; the first is counted.
    pub(crate) fn add_released(&self, contents: HBitmap, enabled: bool) -> BitmapId {
        let mut list = self.0.lock();
        let entry = list.insert(contents, enabled);
        entry.uses = 1;
        entry.released = true;
        entry.id
    }

    /// Removes one that nobody reads (`bdrv_release_dirty_bitmap`). One that
    /// is read goes with its last reader, and notes nothing until then.
    pub fn remove(&self, _gs: &GsAccess, id: BitmapId) {
        let mut list = self.0.lock();
        let entry = list.entry(id);
        entry.released = true;
        entry.recording = Recording::Here { enabled: false };
        list.entries
            .retain(|entry| entry.id != id || entry.uses > 0);
    }

    /// What can be said about one.
    pub fn state(&self, _gs: &GsAccess, id: BitmapId) -> BitmapState {
        self.0.lock().entry(id).state()
    }

    /// What is dirty, as of now. Costs nothing.
    pub fn contents(&self, _gs: &GsAccess, id: BitmapId) -> HBitmap {
        self.read(id, HBitmap::clone)
    }

    /// Lets it note writes, or not (`bdrv_enable_dirty_bitmap`,
    /// `bdrv_disable_dirty_bitmap`). For a frozen one this is about its
    /// successor (`bdrv_dirty_bitmap_enable_successor`).
    pub fn set_enabled(&self, _gs: &GsAccess, id: BitmapId, on: bool) {
        self.enable(id, on);
    }

    /// Replaces what is dirty; returns what was (`bdrv_clear_dirty_bitmap`,
    /// `bdrv_restore_dirty_bitmap`). The new contents take on the length of
    /// the node.
    pub fn replace(&self, _gs: &GsAccess, id: BitmapId, contents: HBitmap) -> HBitmap {
        self.swap(id, |_| contents)
    }

    /// Makes everything clean; returns what was dirty.
    pub fn clear(&self, _gs: &GsAccess, id: BitmapId) -> HBitmap {
        self.swap(id, like)
    }

    /// Makes dirty what is dirty in any of `others`, or nothing if one of
    /// them has another size. Returns what was dirty before
    /// (`bdrv_dirty_bitmap_merge_internal`).
    ///
    /// # Errors
    /// [`MapError::DifferentSizes`].
    pub fn merge(
        &self,
        _gs: &GsAccess,
        id: BitmapId,
        others: &[HBitmap],
    ) -> Result<HBitmap, MapError> {
        let mut list = self.0.lock();
        let entry = list.entry(id);
        let mut merged = entry.contents.clone();
        for other in others {
            merged.merge(other)?;
        }
        Ok(std::mem::replace(&mut entry.contents, merged))
    }

    /// Gives it a successor, which is enabled if the bitmap was, and counts a
    /// reader (`bdrv_dirty_bitmap_create_successor`). Nothing if it has one.
    pub(crate) fn freeze(&self, id: BitmapId) -> Option<()> {
        let mut list = self.0.lock();
        let entry = list.entry(id);
        let Recording::Here { enabled } = entry.recording else {
            return None;
        };
        entry.recording = Recording::Successor {
            contents: like(&entry.contents),
            enabled,
        };
        entry.uses += 1;
        Some(())
    }

    /// The successor takes its place (`bdrv_dirty_bitmap_abdicate`), or what
    /// it has noted is added (`bdrv_reclaim_dirty_bitmap`). Nothing if there
    /// is none.
    pub(crate) fn thaw(&self, id: BitmapId, abdicate: bool) {
        let mut list = self.0.lock();
        let entry = list.entry(id);
        let Recording::Successor { contents, enabled } = &mut entry.recording else {
            return;
        };
        if abdicate {
            std::mem::swap(&mut entry.contents, contents);
        } else {
            let merged = entry.contents.merge(contents);
            merged.expect("both describe the node");
        }
        let enabled = *enabled;
        entry.recording = Recording::Here { enabled };
    }

    pub(crate) fn enable(&self, id: BitmapId, on: bool) {
        match &mut self.0.lock().entry(id).recording {
            Recording::Here { enabled } | Recording::Successor { enabled, .. } => *enabled = on,
        }
    }

    pub(crate) fn swap(&self, id: BitmapId, new: impl FnOnce(&HBitmap) -> HBitmap) -> HBitmap {
        let mut list = self.0.lock();
        let entry = list.entry(id);
        let mut contents = new(&entry.contents);
        resize(&mut contents, entry.contents.size());
        std::mem::replace(&mut entry.contents, contents)
    }

    pub(crate) fn begin_use(&self, id: BitmapId) {
        self.0.lock().entry(id).uses += 1;
    }

    pub(crate) fn end_use(&self, id: BitmapId) {
        let mut list = self.0.lock();
        let entry = list.entry(id);
        entry.uses -= 1;
        if entry.uses == 0 && entry.released {
            list.entries.retain(|entry| entry.id != id);
        }
    }

    /// Looks at what is dirty, under the lock.
    pub(crate) fn read<R>(&self, id: BitmapId, f: impl FnOnce(&HBitmap) -> R) -> R {
        f(&self.0.lock().entry(id).contents)
    }

    /// Changes what is dirty, under the lock.
    pub(crate) fn write<R>(&self, id: BitmapId, f: impl FnOnce(&mut HBitmap) -> R) -> R {
        f(&mut self.0.lock().entry(id).contents)
    }
}

#[cfg(all(test, not(block_loom)))]
mod tests {
    use super::*;

    fn bitmaps(size: u64) -> (DirtyBitmaps, BitmapId) {
        let bitmaps = DirtyBitmaps::default();
        let contents = HBitmap::new(size, 9).expect("a bitmap");
        let id = bitmaps.add_released(contents, true);
        (bitmaps, id)
    }

    fn dirty(bitmaps: &DirtyBitmaps, id: BitmapId) -> Vec<Range<u64>> {
        bitmaps.read(id, |contents| contents.areas(0..u64::MAX).collect())
    }

    #[test]
    fn a_write_beyond_the_bitmap_is_noted_before_whoever_made_the_node_longer_comes() {
        let (bitmaps, id) = bitmaps(4096);
        bitmaps.note(&(8192..9216), || 16384);
        bitmaps.resized(&(0..0), || 16384);
        assert_eq!(dirty(&bitmaps, id), vec![8192..9216]);
        // A write that has failed beyond the end.
        bitmaps.note(&(16384..20480), || 16384);
        assert_eq!(bitmaps.read(id, HBitmap::size), 16384);
        bitmaps.resized(&(16384..20480), || 20480);
        assert_eq!(dirty(&bitmaps, id), vec![8192..9216, 16384..20480]);
    }

    #[test]
    fn a_frozen_one_and_its_successor_have_one_length() {
        let (bitmaps, id) = bitmaps(4096);
        bitmaps.note(&(0..512), || 4096);
        bitmaps.freeze(id).expect("it has no successor");
        assert!(bitmaps.freeze(id).is_none());
        bitmaps.note(&(8000..8192), || 8192);
        assert_eq!(dirty(&bitmaps, id), vec![Range { start: 0, end: 512 }]);
        bitmaps.resized(&(0..0), || 8000);
        bitmaps.thaw(id, false);
        assert_eq!(dirty(&bitmaps, id), vec![0..512, 7680..8000]);
        bitmaps.thaw(id, true);
        assert_eq!(dirty(&bitmaps, id).len(), 2, "there was none to take over");
    }

    #[test]
    fn one_without_a_name_goes_with_its_last_reader() {
        let (bitmaps, id) = bitmaps(4096);
        bitmaps.begin_use(id);
        bitmaps.end_use(id);
        assert_eq!(dirty(&bitmaps, id), []);
        bitmaps.end_use(id);
        assert!(bitmaps.0.lock().entries.is_empty());
    }
}
