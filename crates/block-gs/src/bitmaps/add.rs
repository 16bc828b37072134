//! New bitmaps, and what requests are told of them.

use std::sync::Arc;

use block_common::IoError;
use block_common::bitmap::{BitmapError, HBitmap, check_granularity, check_name};
use block_io::dirty::{StoredBitmap, Tracker};
use block_io::{NodeFlags, Request};

use super::{DirtyBitmap, NamedBitmap, WriteTracker, io, views};
use crate::graph::{Graph, NodeKey, ParentRef};
use crate::{BqlGuard, Drained, Node};

/// What a user says of a new bitmap (`block-dirty-bitmap-add`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct BitmapOptions {
    /// How many bytes a bit stands for: a power of two, at least 512. Without
    /// it, [what suits the image](block_common::bitmap::default_granularity).
    pub granularity: Option<u32>,
    /// It is kept with the image when the node is closed.
    pub persistent: bool,
    /// It does not note writes until it is enabled.
    pub disabled: bool,
}

/// What a driver knows of a bitmap that it has found in its image.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct StoredState {
    /// The image cannot be written, and the bitmap must not get out of date:
    /// nothing writes to the node until it is [writable](DirtyBitmap::set_read_only).
    pub read_only: bool,
    /// The image was not closed properly, so the contents are worth nothing.
    pub inconsistent: bool,
}

/// The device that shows a node, or the node if there is none
/// (`bdrv_get_device_or_node_name`).
fn device_or_node_name(graph: &Graph, key: NodeKey) -> String {
    let parents = graph.node(key).parents.iter();
    let mut devices = parents.filter_map(|&edge| match graph.edges[edge].parent {
        ParentRef::Backend(backend) => Some(graph.backends[backend].name.as_str()),
        _ => None,
    });
    let device = devices.find(|name| !name.is_empty());
    device.unwrap_or(graph.name(key)).to_owned()
}

impl Drained<'_> {
    /// Adds a bitmap (`block-dirty-bitmap-add`). Every write that begins after
    /// this section is noted in it, and none from before is in flight.
    ///
    /// # Errors
    /// [`BitmapError::NameEmpty`], [`BitmapError::Granularity`],
    /// [`BitmapError::Exists`], [`BitmapError::NameTooLong`];
    /// [`BitmapError::NotStorable`] or [`BitmapError::Driver`] for one that is
    /// to be kept; [`BitmapError::Length`].
    pub fn add_bitmap(
        &mut self,
        name: &str,
        options: BitmapOptions,
    ) -> Result<DirtyBitmap, BitmapError> {
        if name.is_empty() {
            return Err(BitmapError::NameEmpty);
        }
        let granularity = match options.granularity {
            Some(granularity) => granularity,
            None => self.node().default_bitmap_granularity(self),
        };
        check_granularity(granularity)?;
        if options.persistent {
            self.check_storable(name, granularity)?;
        }
        self.check_free(name)?;
        check_name(name)?;
        let contents = self.clean_bitmap(granularity)?;
        self.insert_bitmap(name, contents, !options.disabled, |named| {
            named.persistent = options.persistent;
        })
    }

    /// Adds a bitmap that the driver has found in its image, when it is
    /// opened. One that is inconsistent notes nothing.
    ///
    /// # Errors
    /// As [`add_bitmap`](Drained::add_bitmap).
    pub fn add_stored_bitmap(
        &mut self,
        stored: StoredBitmap,
        state: StoredState,
    ) -> Result<DirtyBitmap, BitmapError> {
        let StoredBitmap {
            name,
            enabled,
            mut contents,
        } = stored;
        check_name(&name)?;
        let length = self.find_length()?;
        contents.truncate(length)?;
        let enabled = enabled && !state.inconsistent;
        let bitmap = self.insert_bitmap(&name, contents, enabled, |named| {
            named.persistent = true;
            named.read_only = state.read_only;
            named.inconsistent = state.inconsistent;
        })?;
        self.publish_bitmaps();
        Ok(bitmap)
    }

    /// A bitmap without a name, for a job: it belongs to whoever holds it
    /// (`bdrv_create_dirty_bitmap`). If it is enabled, every write that begins
    /// after this section is noted in it. `granularity` is in bytes.
    ///
    /// # Errors
    /// [`BitmapError::Granularity`], [`BitmapError::Length`].
    pub fn track_writes(
        &mut self,
        granularity: u32,
        enabled: bool,
    ) -> Result<WriteTracker, BitmapError> {
        check_granularity(granularity)?;
        let contents = self.clean_bitmap(granularity)?;
        let node = self.node().clone();
        let tracker = Tracker::new(self.access(), node.io(), contents, enabled);
        let layer = Arc::clone(self.state().shared());
        self.publish_bitmaps();
        Ok(WriteTracker::of(tracker, node, layer))
    }

    fn check_free(&self, name: &str) -> Result<(), BitmapError> {
        match self.node().find_bitmap(self, name) {
            Some(_) => Err(BitmapError::Exists(name.to_owned())),
            None => Ok(()),
        }
    }

    /// Whether the image can keep one more bitmap
    /// (`bdrv_can_store_new_dirty_bitmap`).
    fn check_storable(&mut self, name: &str, granularity: u32) -> Result<(), BitmapError> {
        self.check_free(name)?;
        let outcome = self.io(async |request: Request<'_>| {
            let driver = request.node().driver();
            driver.can_store_bitmap(request, name, granularity).await
        });
        outcome.map_err(|error| match error {
            IoError::NotSupported => BitmapError::NotStorable {
                node: device_or_node_name(self.graph(), self.node().key(self)),
                error,
            },
            error => BitmapError::Driver(IoError::refused(
                error.errno(),
                format!(
                    "Can't make bitmap '{name}' persistent in '{}': {error}",
                    device_or_node_name(self.graph(), self.node().key(self))
                ),
            )),
        })
    }

    /// Asks how long the node is: if requests have skipped it, the noted
    /// length may be an old one.
    fn find_length(&mut self) -> Result<u64, BitmapError> {
        let length = self.io(async |request: Request<'_>| request.refresh_length().await);
        length.map_err(BitmapError::Length)
    }

    fn clean_bitmap(&mut self, granularity: u32) -> Result<HBitmap, BitmapError> {
        let length = self.find_length()?;
        Ok(HBitmap::new(length, granularity.trailing_zeros())?)
    }

    /// Nothing polls in here, so the name is free until it is taken.
    fn insert_bitmap(
        &mut self,
        name: &str,
        contents: HBitmap,
        enabled: bool,
        describe: impl FnOnce(&mut NamedBitmap),
    ) -> Result<DirtyBitmap, BitmapError> {
        self.check_free(name)?;
        let node = self.node().clone();
        let key = node.key(self);
        let mut named = NamedBitmap {
            id: io(self, key).add(self.access(), contents, enabled),
            name: name.into(),
            persistent: false,
            read_only: false,
            inconsistent: false,
            skip_store: false,
        };
        describe(&mut named);
        let bitmap = DirtyBitmap {
            node,
            id: named.id,
            name: Arc::clone(&named.name),
        };
        self.named_bitmaps().insert(0, named);
        self.publish_bitmaps();
        Ok(bitmap)
    }

    /// Tells requests whether there is anything that concerns them.
    pub(super) fn publish_bitmaps(&mut self) {
        // What runs while the section settles may add and remove bitmaps; after
        // that nothing polls in here.
        self.settle();
        let key = self.node().key(self);
        let recorded = !io(self, key).is_empty(self.access());
        let kept = views(self, key).any(|view| view.named.read_only);
        for (flag, on) in [
            (NodeFlags::RECORDED, recorded),
            (NodeFlags::KEPT_BITMAPS, kept),
        ] {
            if self.node().io().flags().contains(flag) != on {
                self.set_flag(flag, on);
            }
        }
    }
}

/// Lets requests pass that nobody wants to see any more.
pub(super) fn forget_unused(bql: &mut BqlGuard, node: &Node) {
    // A node that was closed while somebody held a handle has nothing to
    // forget.
    if !node.is_open(bql) {
        return;
    }
    let key = node.key(bql);
    let recorded = node.io().flags().contains(NodeFlags::RECORDED);
    if recorded && io(bql, key).is_empty(bql.access()) {
        node.drain(bql).publish_bitmaps();
    }
}
