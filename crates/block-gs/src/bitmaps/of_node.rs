//! The bitmaps of a node: finding, adding and storing them.

use block_common::IoError;
use block_common::bitmap::{BitmapError, default_granularity};
use block_io::Request;
use block_io::dirty::{BitmapId, StoredBitmap};

use super::{BitmapOptions, BitmapView, DirtyBitmap, WriteTracker, io, views};
use crate::graph::NodeKey;
use crate::{BqlGuard, Drained, Node};

impl Node {
    /// All bitmaps with a name, newest first (`bdrv_dirty_bitmap_next`). The
    /// iterator borrows the guard: the list cannot change under it.
    pub fn bitmaps<'b>(&self, bql: &'b BqlGuard) -> impl Iterator<Item = BitmapView<'b>> + use<'b> {
        views(bql, self.key(bql))
    }

    /// The bitmap called `name` (`bdrv_find_dirty_bitmap`).
    pub fn find_bitmap(&self, bql: &BqlGuard, name: &str) -> Option<DirtyBitmap> {
        let mut views = self.bitmaps(bql);
        views
            .find(|view| view.name() == name)
            .map(BitmapView::bitmap)
    }

    /// The granularity of a bitmap whose user names none, in bytes
    /// (`bdrv_get_default_bitmap_granularity`).
    pub fn default_bitmap_granularity(&self, bql: &BqlGuard) -> u32 {
        default_granularity(self.view(bql).limits().cluster_size)
    }

    /// Whether bitmaps can be kept with the node's image
    /// (`bdrv_supports_persistent_dirty_bitmap`).
    pub fn supports_persistent_bitmaps(&self, bql: &BqlGuard) -> bool {
        self.view(bql).driver().supports_persistent_bitmaps()
    }

    /// [`Drained::add_bitmap`](crate::Drained::add_bitmap) in a section of its own.
    ///
    /// # Errors
    /// As there.
    pub fn add_bitmap(
        &self,
        bql: &mut BqlGuard,
        name: &str,
        options: BitmapOptions,
    ) -> Result<DirtyBitmap, BitmapError> {
        self.drain(bql).add_bitmap(name, options)
    }

    /// [`Drained::track_writes`](crate::Drained::track_writes) in a section of its own.
    ///
    /// # Errors
    /// As there.
    pub fn track_writes(
        &self,
        bql: &mut BqlGuard,
        granularity: u32,
        enabled: bool,
    ) -> Result<WriteTracker, BitmapError> {
        self.drain(bql).track_writes(granularity, enabled)
    }

    /// [`Drained::store_bitmaps`] in a section of its own.
    ///
    /// # Errors
    /// As there.
    pub fn store_bitmaps(&self, bql: &mut BqlGuard) -> Result<(), BitmapError> {
        self.drain(bql).store_bitmaps()
    }
}

impl Drained<'_> {
    /// Stores the bitmaps that are kept with the image, as closing the node
    /// and inactivating it do (`qcow2_store_persistent_dirty_bitmaps`). Stored
    /// again, they take the place of what was stored before.
    ///
    /// # Errors
    /// [`BitmapError::Lost`]: the bitmaps here are what they were, and what is
    /// in the image says that it does not hold.
    pub fn store_bitmaps(&mut self) -> Result<(), BitmapError> {
        let stored = to_store(self, self.node().key(self));
        if stored.is_empty() {
            return Ok(());
        }
        let outcome = self.io(async |request: Request<'_>| store(request, &stored).await);
        outcome.map_err(|error| BitmapError::Lost {
            node: self.node().name().to_owned(),
            error,
        })
    }

    /// Lets go of bitmaps that are in the image as they are here, and that
    /// nobody uses: another process may change them there
    /// (`bdrv_release_dirty_bitmap`). For drivers that find them again when
    /// they are [activated](crate::BlockDriver::activated).
    pub fn release_stored_bitmaps(&mut self) {
        self.let_go(|view| view.is_persistent() && !view.is_inconsistent());
    }

    /// Lets go of the bitmap called `name`, if nobody uses it: what is in the
    /// image is newer. It stays there.
    pub fn release_stored_bitmap(&mut self, name: &str) {
        self.let_go(|view| view.name() == name);
    }

    fn let_go(&mut self, which: impl Fn(BitmapView<'_>) -> bool) {
        let key = self.node().key(self);
        let gone: Vec<BitmapId> = views(self, key)
            .filter(|view| which(*view) && !view.info().busy)
            .map(|view| view.named.id)
            .collect();
        for id in &gone {
            io(self, key).remove(self.access(), *id);
        }
        self.named_bitmaps()
            .retain(|named| !gone.contains(&named.id));
        self.publish_bitmaps();
    }

    /// Whether bitmaps that are kept with the image must stay as they are in
    /// it, all of them; see
    /// [`DirtyBitmap::set_read_only`] (`qcow2_reopen_bitmaps_ro`,
    /// `qcow2_reopen_bitmaps_rw`).
    pub fn set_stored_bitmaps_read_only(&mut self, on: bool) {
        for named in self.named_bitmaps() {
            if named.persistent && !named.skip_store {
                named.read_only = on;
            }
        }
        self.publish_bitmaps();
    }
}

/// Asks the driver to keep bitmaps.
async fn store(request: Request<'_>, stored: &[StoredBitmap]) -> Result<(), IoError> {
    let driver = request.node().driver();
    driver.store_bitmaps(request, stored).await
}

/// What is to be kept of a node: bitmaps that are as they were in the image
/// stay there.
fn to_store(bql: &BqlGuard, key: NodeKey) -> Vec<StoredBitmap> {
    let kept = views(bql, key)
        .filter(|view| view.is_persistent() && !view.named.inconsistent && !view.named.read_only);
    let stored = kept.map(|view| StoredBitmap {
        name: view.named.name.to_string(),
        enabled: view.is_enabled(),
        contents: io(bql, key).contents(bql.access(), view.named.id),
    });
    stored.collect()
}
