//! What can be said about a bitmap.

use std::fmt;
use std::sync::Arc;

use block_common::bitmap::BitmapError;

use super::{DirtyBitmap, NamedBitmap, io};
use crate::graph::NodeKey;
use crate::{BqlGuard, Node};

/// What can be said about a bitmap (`BlockDirtyInfo`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BitmapInfo {
    /// Its name.
    pub name: String,
    /// How many bytes are dirty, in whole granules.
    pub count: u64,
    /// How many bytes a bit stands for.
    pub granularity: u64,
    /// Whether writes are noted, in it or in its successor.
    pub recording: bool,
    /// Whether a job or an export uses it.
    pub busy: bool,
    /// Whether it is kept with the image.
    pub persistent: bool,
    /// Whether its contents are worth nothing.
    pub inconsistent: bool,
}

/// What is to be done with a bitmap, and what it must not be for that
/// (`bdrv_dirty_bitmap_check`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BitmapUse {
    /// Change what is dirty: not busy, not read-only, not inconsistent
    /// (`BDRV_BITMAP_DEFAULT`).
    Change,
    /// Read it, enable it or disable it: not busy, not inconsistent
    /// (`BDRV_BITMAP_ALLOW_RO`).
    Read,
    /// Remove it: not busy, not read-only.
    Remove,
}

/// A bitmap of a node, for as long as nothing can change the list.
#[derive(Clone, Copy)]
pub struct BitmapView<'b> {
    pub(super) bql: &'b BqlGuard,
    pub(super) key: NodeKey,
    pub(super) named: &'b NamedBitmap,
}

impl fmt::Debug for BitmapView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BitmapView({})", self.named.name)
    }
}

impl<'b> BitmapView<'b> {
    /// The name (`bdrv_dirty_bitmap_name`).
    pub fn name(self) -> &'b str {
        &self.named.name
    }

    /// Whether it is kept with the image (`bdrv_dirty_bitmap_get_persistence`).
    pub fn is_persistent(self) -> bool {
        self.named.persistent && !self.named.skip_store
    }

    /// Whether it must not get out of date (`bdrv_dirty_bitmap_readonly`).
    pub fn is_read_only(self) -> bool {
        self.named.read_only
    }

    /// Whether its contents are worth nothing
    /// (`bdrv_dirty_bitmap_inconsistent`).
    pub fn is_inconsistent(self) -> bool {
        self.named.inconsistent
    }

    /// What a user is told of it (`bdrv_query_dirty_bitmaps`).
    pub fn info(self) -> BitmapInfo {
        let state = io(self.bql, self.key).state(self.bql.access(), self.named.id);
        BitmapInfo {
            name: self.named.name.to_string(),
            count: state.count,
            granularity: state.granularity,
            recording: state.recording,
            busy: state.busy,
            persistent: self.named.persistent,
            inconsistent: self.named.inconsistent,
        }
    }

    /// Whether it notes writes itself (`bdrv_dirty_bitmap_enabled`); not
    /// while it is frozen.
    pub fn is_enabled(self) -> bool {
        let state = io(self.bql, self.key).state(self.bql.access(), self.named.id);
        state.enabled
    }

    /// Whether it has a successor (`bdrv_dirty_bitmap_has_successor`).
    pub fn is_frozen(self) -> bool {
        let state = io(self.bql, self.key).state(self.bql.access(), self.named.id);
        state.frozen
    }

    /// A handle, which can be kept across polls.
    pub fn bitmap(self) -> DirtyBitmap {
        DirtyBitmap {
            node: Node::of(self.bql, self.key),
            id: self.named.id,
            name: Arc::clone(&self.named.name),
        }
    }

    pub(super) fn check(self, wanted: BitmapUse) -> Result<(), BitmapError> {
        let named = self.named;
        let name = || named.name.to_string();
        let state = io(self.bql, self.key).state(self.bql.access(), named.id);
        if state.busy {
            return Err(BitmapError::Busy(name()));
        }
        if named.read_only && wanted != BitmapUse::Read {
            return Err(BitmapError::ReadOnly(name()));
        }
        if named.inconsistent && wanted != BitmapUse::Remove {
            return Err(BitmapError::Inconsistent(name()));
        }
        Ok(())
    }
}
