//! The bitmaps of a node: finding, adding and storing them.

use block_common::IoError;
use block_common::bitmap::{BitmapError, default_granularity};
use block_io::Request;
use block_io::dirty::StoredBitmap;

use super::{BitmapOptions, BitmapView, DirtyBitmap, WriteTracker, io, views};
use crate::graph::NodeKey;
use crate::{BqlGuard, Node};

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

    /// Stores the bitmaps that are kept with the image, as closing the node
    /// does (`qcow2_store_persistent_dirty_bitmaps`).
    ///
    /// # Errors
    /// [`BitmapError::Lost`].
    pub fn store_bitmaps(&self, bql: &mut BqlGuard) -> Result<(), BitmapError> {
        let mut section = self.drain(bql);
        let stored = to_store(&section, self.key(&section));
        if stored.is_empty() {
            return Ok(());
        }
        let outcome = section.io(async |request: Request<'_>| store(request, &stored).await);
        outcome.map_err(|error| BitmapError::Lost {
            node: self.name().to_owned(),
            error,
        })
    }
}

/// Asks the driver to keep bitmaps.
pub(crate) async fn store(request: Request<'_>, stored: &[StoredBitmap]) -> Result<(), IoError> {
    let driver = request.node().driver();
    driver.store_bitmaps(request, stored).await
}

/// What is to be kept of a node: bitmaps that are as they were in the image
/// stay there.
pub(crate) fn to_store(bql: &BqlGuard, key: NodeKey) -> Vec<StoredBitmap> {
    let kept = views(bql, key)
        .filter(|view| view.is_persistent() && !view.named.inconsistent && !view.named.read_only);
    let stored = kept.map(|view| StoredBitmap {
        name: view.named.name.to_string(),
        enabled: view.is_enabled(),
        contents: io(bql, key).contents(bql.access(), view.named.id),
    });
    stored.collect()
}
