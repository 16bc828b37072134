//! Bitmaps by name.

use std::fmt;
use std::sync::Arc;

use block_common::GraphError;
use block_common::bitmap::{BitmapError, HBitmap};
use block_io::Request;
use block_io::dirty::{BitmapId, BitmapReader, DirtyBitmaps, FrozenContents};

use super::add::forget_unused;
use super::{BitmapUse, BitmapView, FrozenBitmap, NamedBitmap, io};
use crate::{BqlGuard, Node};

/// A named bitmap of a node (`BdrvDirtyBitmap`).
///
/// A handle like [`Node`], whose life it shares: `Send + Sync`, it can be kept
/// across polls, and everything that it does asks for the guard. A bitmap that
/// was removed meanwhile is not found. There is no way from here to a
/// bitmap's contents without looking whether it may be used so.
#[derive(Clone)]
pub struct DirtyBitmap {
    pub(super) node: Node,
    pub(super) id: BitmapId,
    pub(super) name: Arc<str>,
}

impl fmt::Debug for DirtyBitmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirtyBitmap({} of {})", self.name, self.node.name())
    }
}

impl PartialEq for DirtyBitmap {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node && self.id == other.id
    }
}

impl Eq for DirtyBitmap {}

/// What a bitmap had, to be [put back](DirtyBitmap::restore) when a
/// transaction is undone.
#[derive(Clone, Debug)]
pub struct BitmapBackup(HBitmap);

impl From<HBitmap> for BitmapBackup {
    /// Contents from elsewhere, such as another process: they are cut, or
    /// extended with what is clean, to the length of the node.
    fn from(contents: HBitmap) -> Self {
        BitmapBackup(contents)
    }
}

impl DirtyBitmap {
    /// The bitmap called `name` of the node that a user means by `node`
    /// (`block_dirty_bitmap_lookup`).
    ///
    /// # Errors
    /// [`BitmapError::NodeNotFound`], [`BitmapError::NotFound`].
    pub fn lookup(bql: &BqlGuard, node: &str, name: &str) -> Result<DirtyBitmap, BitmapError> {
        let node = Node::lookup(bql, node).map_err(|error| match error {
            GraphError::NotFound { node, .. } => BitmapError::NodeNotFound(node),
            error => BitmapError::Graph(error),
        })?;
        let bitmap = node.find_bitmap(bql, name);
        bitmap.ok_or_else(|| BitmapError::NotFound(name.to_owned()))
    }

    /// Whose bitmap it is.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The name. Needs no proof: it never changes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Looks the bitmap up.
    ///
    /// # Errors
    /// [`BitmapError::NotFound`] when it has been removed.
    ///
    /// # Panics
    /// When its node belongs to another block layer.
    pub fn view<'b>(&self, bql: &'b BqlGuard) -> Result<BitmapView<'b>, BitmapError> {
        let mut views = self.node.bitmaps(bql);
        let view = views.find(|view| view.named.id == self.id);
        view.ok_or_else(|| BitmapError::NotFound(self.name.to_string()))
    }

    /// Whether the bitmap can be used so (`bdrv_dirty_bitmap_check`).
    ///
    /// # Errors
    /// [`BitmapError::NotFound`], [`BitmapError::Busy`],
    /// [`BitmapError::ReadOnly`], [`BitmapError::Inconsistent`].
    pub fn check(&self, bql: &BqlGuard, wanted: BitmapUse) -> Result<(), BitmapError> {
        self.view(bql)?.check(wanted)
    }

    /// As [`check`](DirtyBitmap::check); the I/O half of the bitmaps.
    fn checked<'b>(
        &self,
        bql: &'b BqlGuard,
        wanted: BitmapUse,
    ) -> Result<&'b DirtyBitmaps, BitmapError> {
        self.check(bql, wanted)?;
        Ok(io(bql, self.node.key(bql)))
    }

    /// Removes it (`block-dirty-bitmap-remove`), also from the image. Opens a
    /// drained section where the image is concerned, and after the last bitmap
    /// of a node.
    ///
    /// # Errors
    /// As [`check`](DirtyBitmap::check); [`BitmapError::Driver`] when it stays
    /// in the image, and then here too.
    pub fn remove(&self, bql: &mut BqlGuard) -> Result<(), BitmapError> {
        self.check(bql, BitmapUse::Remove)?;
        if self.view(bql)?.named.persistent {
            let mut section = self.node.drain(bql);
            let removed = section.io(async |request: Request<'_>| {
                let driver = request.node().driver();
                driver.remove_stored_bitmap(request, &self.name).await
            });
            removed.map_err(BitmapError::Driver)?;
            // Somebody may have begun to use it while the driver was at it.
            self.check(&section, BitmapUse::Remove)?;
        }
        let key = self.node.key(bql);
        io(bql, key).remove(bql.access(), self.id);
        let list = &mut bql.graph_mut().nodes[key].bitmaps;
        list.retain(|named| named.id != self.id);
        forget_unused(bql, &self.node);
        Ok(())
    }

    /// Lets it note writes (`block-dirty-bitmap-enable`): those that begin now,
    /// and those in flight.
    ///
    /// # Errors
    /// As [`check`](DirtyBitmap::check), for [`BitmapUse::Read`].
    pub fn enable(&self, bql: &mut BqlGuard) -> Result<(), BitmapError> {
        self.set_enabled(bql, true)
    }

    /// Lets it note no more writes (`block-dirty-bitmap-disable`), also none
    /// that are in flight.
    ///
    /// # Errors
    /// As [`enable`](DirtyBitmap::enable).
    pub fn disable(&self, bql: &mut BqlGuard) -> Result<(), BitmapError> {
        self.set_enabled(bql, false)
    }

    fn set_enabled(&self, bql: &mut BqlGuard, on: bool) -> Result<(), BitmapError> {
        let bitmaps = self.checked(bql, BitmapUse::Read)?;
        bitmaps.set_enabled(bql.access(), self.id, on);
        Ok(())
    }

    /// Makes everything clean (`block-dirty-bitmap-clear`). Returns what was
    /// dirty.
    ///
    /// # Errors
    /// As [`check`](DirtyBitmap::check), for [`BitmapUse::Change`].
    pub fn clear(&self, bql: &mut BqlGuard) -> Result<BitmapBackup, BitmapError> {
        let bitmaps = self.checked(bql, BitmapUse::Change)?;
        Ok(BitmapBackup(bitmaps.clear(bql.access(), self.id)))
    }

    /// Puts back what was dirty (`bdrv_restore_dirty_bitmap`), for the
    /// transaction that has changed it: what was noted since goes.
    ///
    /// # Errors
    /// As [`clear`](DirtyBitmap::clear).
    pub fn restore(&self, bql: &mut BqlGuard, backup: BitmapBackup) -> Result<(), BitmapError> {
        let bitmaps = self.checked(bql, BitmapUse::Change)?;
        bitmaps.replace(bql.access(), self.id, backup.0);
        Ok(())
    }

    /// Makes dirty what is dirty in any of `sources`, of whichever nodes
    /// (`block-dirty-bitmap-merge`): all of them or none. Returns what was
    /// dirty before.
    ///
    /// # Errors
    /// As [`clear`](DirtyBitmap::clear); as [`check`](DirtyBitmap::check) for
    /// [`BitmapUse::Read`] of each source; [`BitmapError::Map`] for one of
    /// another size.
    pub fn merge(
        &self,
        bql: &mut BqlGuard,
        sources: &[DirtyBitmap],
    ) -> Result<BitmapBackup, BitmapError> {
        let bitmaps = self.checked(bql, BitmapUse::Change)?;
        let contents = sources.iter().map(|source| {
            let others = source.checked(bql, BitmapUse::Read)?;
            Ok(others.contents(bql.access(), source.id))
        });
        let contents = contents.collect::<Result<Vec<_>, BitmapError>>()?;
        let before = bitmaps.merge(bql.access(), self.id, &contents)?;
        Ok(BitmapBackup(before))
    }

    /// Makes dirty what is dirty in `contents`: what a job has not copied
    /// (`bdrv_dirty_bitmap_merge_internal`).
    ///
    /// # Errors
    /// As [`merge`](DirtyBitmap::merge).
    pub fn merge_contents(
        &self,
        bql: &mut BqlGuard,
        contents: HBitmap,
    ) -> Result<BitmapBackup, BitmapError> {
        let bitmaps = self.checked(bql, BitmapUse::Change)?;
        let before = bitmaps.merge(bql.access(), self.id, &[contents])?;
        Ok(BitmapBackup(before))
    }

    /// A reader for other threads. The bitmap is busy until the last of its
    /// clones is dropped, on whichever thread
    /// (`bdrv_dirty_bitmap_set_busy`).
    ///
    /// # Errors
    /// As [`check`](DirtyBitmap::check), for [`BitmapUse::Read`].
    pub fn reader(&self, bql: &mut BqlGuard) -> Result<BitmapReader, BitmapError> {
        self.check(bql, BitmapUse::Read)?;
        Ok(BitmapReader::new(bql.access(), self.node.io(), self.id))
    }

    /// Gives it a successor that notes writes from now on, if the bitmap did,
    /// and leaves what is dirty as it is
    /// (`bdrv_dirty_bitmap_create_successor`).
    ///
    /// # Errors
    /// [`BitmapError::SuccessorWhileBusy`]; otherwise as
    /// [`check`](DirtyBitmap::check), for [`BitmapUse::Read`].
    pub fn freeze(&self, bql: &mut BqlGuard) -> Result<FrozenBitmap, BitmapError> {
        self.check(bql, BitmapUse::Read)
            .map_err(|error| match error {
                BitmapError::Busy(_) => BitmapError::SuccessorWhileBusy,
                error => error,
            })?;
        let frozen = FrozenContents::new(bql.access(), self.node.io(), self.id);
        let frozen = frozen.ok_or(BitmapError::SuccessorWhileBusy)?;
        Ok(FrozenBitmap::of(frozen, self.clone()))
    }

    /// Whether it is kept with the image
    /// (`bdrv_dirty_bitmap_set_persistence`).
    ///
    /// # Errors
    /// [`BitmapError::NotFound`].
    pub fn set_persistent(&self, bql: &mut BqlGuard, on: bool) -> Result<(), BitmapError> {
        self.named(bql)?.persistent = on;
        Ok(())
    }

    /// Whether it is left out when bitmaps are stored, for now: it is being
    /// removed, or goes elsewhere in a migration
    /// (`bdrv_dirty_bitmap_skip_store`).
    ///
    /// # Errors
    /// [`BitmapError::NotFound`].
    pub fn set_skip_store(&self, bql: &mut BqlGuard, on: bool) -> Result<(), BitmapError> {
        self.named(bql)?.skip_store = on;
        Ok(())
    }

    /// Says that its contents are worth nothing, for good
    /// (`bdrv_dirty_bitmap_set_inconsistent`). It notes nothing any more.
    ///
    /// # Errors
    /// [`BitmapError::NotFound`].
    pub fn set_inconsistent(&self, bql: &mut BqlGuard) -> Result<(), BitmapError> {
        self.named(bql)?.inconsistent = true;
        let bitmaps = io(bql, self.node.key(bql));
        bitmaps.set_enabled(bql.access(), self.id, false);
        Ok(())
    }

    /// Whether the bitmap must stay as it is in the image
    /// (`bdrv_dirty_bitmap_set_readonly`). While a node has such a bitmap,
    /// nothing writes to it: requests fail with `EPERM`.
    ///
    /// # Errors
    /// [`BitmapError::NotFound`].
    pub fn set_read_only(&self, bql: &mut BqlGuard, on: bool) -> Result<(), BitmapError> {
        let mut section = self.node.drain(bql);
        let id = self.id;
        let mut list = section.named_bitmaps().iter_mut();
        let named = list.find(|named| named.id == id);
        let named = named.ok_or_else(|| BitmapError::NotFound(self.name.to_string()))?;
        named.read_only = on;
        section.publish_bitmaps();
        Ok(())
    }

    fn named<'b>(&self, bql: &'b mut BqlGuard) -> Result<&'b mut NamedBitmap, BitmapError> {
        let key = self.node.key(bql);
        let mut list = bql.graph_mut().nodes[key].bitmaps.iter_mut();
        let named = list.find(|named| named.id == self.id);
        named.ok_or_else(|| BitmapError::NotFound(self.name.to_string()))
    }
}
