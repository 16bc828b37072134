//! Dirty bitmaps of nodes: names, and who may do what
//! (`block/dirty-bitmap.c`, `block/monitor/bitmap-qmp-cmds.c`).
//!
//! What requests touch of a bitmap is in [`block_io::dirty`], under a lock.
//! What is here is plain data behind the guard: users' names, and whether the
//! bitmap is kept with the image.
//!
//! | who | holds | may |
//! |---|---|---|
//! | a user | [`DirtyBitmap`], looked up by name | everything, unless the bitmap is busy |
//! | an export | [`BitmapReader`] | read, on any thread; the bitmap is busy |
//! | a job | [`FrozenBitmap`] | the same, and decide at the end what becomes of it |
//! | a job | [`WriteTracker`] | everything, on any thread: it is its own |

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use block_common::bitmap::{
    BitmapError, HBitmap, check_granularity, check_name, default_granularity,
};
use block_common::{GraphError, IoError};
use block_io::dirty::{
    BitmapId, BitmapReader, DirtyBitmaps, FrozenContents, StoredBitmap, Tracker,
};
use block_io::{NodeFlags, Request};

use crate::graph::{Graph, NodeKey, ParentRef};
use crate::layer::LayerShared;
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

/// A bitmap, the half of it that only the main thread sees.
pub(crate) struct NamedBitmap {
    id: BitmapId,
    name: Arc<str>,
    persistent: bool,
    read_only: bool,
    inconsistent: bool,
    skip_store: bool,
}

/// A named bitmap of a node (`BdrvDirtyBitmap`).
///
/// A handle like [`Node`], whose life it shares: `Send + Sync`, it can be kept
/// across polls, and everything that it does asks for the guard. A bitmap that
/// was removed meanwhile is not found. There is no way from here to a
/// bitmap's contents without looking whether it may be used so.
#[derive(Clone)]
pub struct DirtyBitmap {
    node: Node,
    id: BitmapId,
    name: Arc<str>,
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

/// A bitmap of a node, for as long as nothing can change the list.
#[derive(Clone, Copy)]
pub struct BitmapView<'b> {
    bql: &'b BqlGuard,
    key: NodeKey,
    named: &'b NamedBitmap,
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

    fn check(self, wanted: BitmapUse) -> Result<(), BitmapError> {
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

/// The I/O half of a node's bitmaps.
fn io(bql: &BqlGuard, key: NodeKey) -> &DirtyBitmaps {
    bql.graph().node(key).io.dirty_bitmaps(bql.access())
}

fn views(bql: &BqlGuard, key: NodeKey) -> impl Iterator<Item = BitmapView<'_>> {
    let list = bql.graph().node(key).bitmaps.iter();
    list.map(move |named| BitmapView { bql, key, named })
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

    /// [`Drained::add_bitmap`] in a section of its own.
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

    /// [`Drained::track_writes`] in a section of its own.
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
        Ok(WriteTracker {
            tracker: Some(tracker),
            node,
            layer,
        })
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
        let outcome = if self.node().supports_persistent_bitmaps(self) {
            self.check_free(name)?;
            self.io(async |request: Request<'_>| {
                let driver = request.node().driver();
                driver.can_store_bitmap(request, name, granularity).await
            })
        } else {
            Err(IoError::NotSupported)
        };
        outcome.map_err(|error| match error {
            IoError::NotSupported => BitmapError::NotStorable {
                node: device_or_node_name(self.graph(), self.node().key(self)),
                error,
            },
            error => BitmapError::Driver(error),
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
    fn publish_bitmaps(&mut self) {
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
fn forget_unused(bql: &mut BqlGuard, node: &Node) {
    let key = node.key(bql);
    let recorded = node.io().flags().contains(NodeFlags::RECORDED);
    if recorded && io(bql, key).is_empty(bql.access()) {
        node.drain(bql).publish_bitmaps();
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
        Ok(FrozenBitmap {
            contents: frozen.ok_or(BitmapError::SuccessorWhileBusy)?,
            bitmap: self.clone(),
        })
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
