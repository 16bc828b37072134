//! What a node and its driver know about an image, and what is done to the
//! image as a whole.
//!
//! Everything here asks the global-state half of a driver. Where a driver has
//! no answer of its own, the question goes to the child that QEMU would ask.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use block_common::error::errno;
use block_common::{GraphError, IoError, Perm, Value};
use block_io::{AmendProgress, AmendReady, NodeFlags};

use crate::driver::BlockDriver;
use crate::layer::LayerShared;
use crate::naming::Names;
use crate::{BqlGuard, DetectZeroes, Drained, Node, NodeView, Operations};

/// What a device wants its blocks to look like (`BlockSizes`), in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockSizes {
    /// The least that is addressed.
    pub logical: u32,
    /// The least that is written without reading.
    pub physical: u32,
}

/// How a disk would have been counted when disks had cylinders
/// (`HDGeometry`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskGeometry {
    /// Tracks of a cylinder.
    pub heads: u32,
    /// Sectors of a track.
    pub sectors: u32,
    /// Cylinders.
    pub cylinders: u32,
}

/// How much storage an image will take (`BlockMeasureInfo`), in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Measurement {
    /// As it would be written.
    pub required: u64,
    /// With all of it in use.
    pub fully_allocated: u64,
    /// For persistent bitmaps, if the format has such.
    pub bitmaps: Option<u64>,
}

/// What a node is, as far as no I/O is needed to know it (a part of
/// `BlockDeviceInfo`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeInfo {
    /// Its name.
    pub node_name: String,
    /// Its driver.
    pub driver: &'static str,
    /// Its [file name](NodeView::filename).
    pub filename: String,
    /// Open for reading only.
    pub read_only: bool,
    /// Not owned by another process.
    pub active: bool,
    /// Put there by a job and not by a user.
    pub implicit: bool,
    /// What it does with writes of zeroes.
    pub detect_zeroes: DetectZeroes,
    /// Discards reach the driver.
    pub unmap: bool,
    /// Flushes end before the disk.
    pub no_flush: bool,
    /// The file name of the backing image, if there is one.
    pub backing_filename: Option<String>,
    /// How many images are below.
    pub backing_depth: usize,
    /// Its length in bytes.
    pub length: u64,
    /// Beyond which end of a write somebody wants to be told; 0 for none.
    pub write_threshold: u64,
    /// What only its driver knows.
    pub specific: Option<Value>,
}

fn refused(errno: i32, message: String) -> GraphError {
    GraphError::Refused { message, errno }
}

impl<'g> NodeView<'g> {
    /// This node, and as far as these are filters what they show: whom to ask
    /// until somebody knows.
    fn shown(self) -> impl Iterator<Item = NodeView<'g>> {
        std::iter::successors(Some(self), |node| node.filter_node())
    }
}

impl NodeView<'_> {
    /// What the node is, for users (`bdrv_block_device_info`).
    pub fn info(self, bql: &BqlGuard) -> NodeInfo {
        let images =
            std::iter::successors(self.backing_chain_next(), |node| node.backing_chain_next());
        self.info_among(bql, images.count(), &mut Names::default())
    }

    /// What this image and all further down its chain are, filters left out.
    /// Takes as much longer as the chain is (`bdrv_block_device_info` of each
    /// takes the square of that).
    pub fn chain_info(self, bql: &BqlGuard) -> Vec<NodeInfo> {
        let first = Some(self.skip_filters());
        let chain = std::iter::successors(first, |node| node.backing_chain_next());
        let chain: Vec<_> = chain.collect();
        // From the last one on, because each asks for the name below it.
        let mut names = Names::default();
        let last_first = chain.iter().rev().enumerate();
        let info = last_first.map(|(below, node)| node.info_among(bql, below, &mut names));
        let mut all: Vec<_> = info.collect();
        all.reverse();
        all
    }

    /// With `backing_depth` images below, and the names that are known.
    fn info_among(self, bql: &BqlGuard, backing_depth: usize, names: &mut Names) -> NodeInfo {
        let flags = self.io().flags();
        NodeInfo {
            node_name: self.name().to_owned(),
            driver: self.driver().format_name(),
            filename: self.filename_among(bql, names),
            read_only: self.is_read_only(),
            active: !self.is_inactive(),
            implicit: self.is_implicit(),
            detect_zeroes: DetectZeroes::of(flags),
            unmap: flags.contains(NodeFlags::UNMAP),
            no_flush: flags.contains(NodeFlags::NO_FLUSH),
            backing_filename: self
                .cow_node()
                .map(|below| below.filename_among(bql, names)),
            backing_depth,
            length: self.length(),
            write_threshold: self.io().threshold(),
            specific: self.driver().specific_info(bql),
        }
    }

    /// The block sizes of the device below (`bdrv_probe_blocksizes`); filters
    /// show those of their child. `None` where any will do.
    pub fn probe_block_sizes(self, bql: &BqlGuard) -> Option<BlockSizes> {
        let mut shown = self.shown();
        shown.find_map(|node| node.driver().block_sizes(bql, node))
    }

    /// Whether the node is a SCSI device that takes commands and no other
    /// requests (`bdrv_is_sg`).
    pub fn is_scsi_generic(self, bql: &BqlGuard) -> bool {
        let mut shown = self.shown();
        let known = shown.find_map(|node| node.driver().is_scsi_generic(bql, node));
        known.unwrap_or(false)
    }

    /// The geometry of the disk below (`bdrv_probe_geometry`); filters show
    /// that of their child. `None` for what never had one.
    pub fn probe_geometry(self, bql: &BqlGuard) -> Option<DiskGeometry> {
        let mut shown = self.shown();
        shown.find_map(|node| node.driver().disk_geometry(bql, node))
    }

    /// Whether an image that was just made reads as zeroes
    /// (`bdrv_has_zero_init`). One with a backing image reads as that.
    pub fn has_zero_init(self, bql: &BqlGuard) -> bool {
        let known = self.shown().find_map(|node| {
            let reads_as_backing = node.cow_child().map(|_| false);
            reads_as_backing.or_else(|| node.driver().has_zero_init(bql, node))
        });
        known.unwrap_or(false)
    }

    /// Whether compressed writes reach a driver that stores them so
    /// (`bdrv_supports_compressed_writes`).
    pub fn supports_compressed_writes(self) -> bool {
        self.shown().all(|node| {
            let flags = node.io().capabilities().write_flags;
            flags.contains(block_io::WriteFlags::COMPRESSED)
        })
    }

    /// Counters of the driver (`bdrv_get_specific_stats`).
    pub fn specific_stats(self, bql: &BqlGuard) -> Option<Value> {
        self.driver().specific_stats(bql)
    }

    /// Whether what is read here is what is read at `other`, so that `other`
    /// could be replaced by a copy of this node (`bdrv_recurse_can_replace`).
    pub fn can_replace(self, bql: &BqlGuard, other: NodeView<'_>) -> bool {
        let known = self.shown().find_map(|node| {
            let is_it = (node == other).then_some(true);
            is_it.or_else(|| node.driver().can_replace(bql, node, other))
        });
        known.unwrap_or(false)
    }

    /// The node called `name`, if it can be replaced by a copy of this one
    /// (`check_to_replace_node`).
    ///
    /// # Errors
    /// [`GraphError::Refused`] when there is none, or what a guest sees might
    /// change; [`GraphError::Blocked`].
    pub fn check_to_replace(self, bql: &BqlGuard, name: &str) -> Result<Node, GraphError> {
        let found = Node::find(bql, name).ok_or_else(|| {
            let text = format!("Failed to find node with node-name='{name}'");
            refused(errno::EINVAL, text)
        })?;
        let view = found.view(bql);
        view.check_operations(Operations::REPLACE)?;
        if !self.can_replace(bql, view) {
            let text = format!(
                "Cannot replace '{name}' by a node mirrored from '{}', because it cannot be \
                 guaranteed that doing so would not lead to an abrupt change of visible data",
                self.device_or_node_name()
            );
            return Err(refused(errno::EINVAL, text));
        }
        Ok(found)
    }

    /// Lets requests end early that wait for something outside
    /// (`bdrv_cancel_in_flight`), such as a server that does not answer. They
    /// fail.
    pub fn cancel_in_flight(self, bql: &BqlGuard) {
        self.driver().cancel_in_flight(bql, self);
    }

    /// How much storage an image of this kind would take that has `length`
    /// bytes, or what `input` has (`bdrv_measure`).
    ///
    /// # Errors
    /// [`GraphError::Refused`] when the driver cannot tell.
    pub fn measure(
        self,
        bql: &BqlGuard,
        length: u64,
        input: Option<NodeView<'_>>,
    ) -> Result<Measurement, GraphError> {
        self.driver().measure(bql, length, input)
    }
}

impl Drained<'_> {
    fn own_driver(&self) -> Arc<dyn BlockDriver> {
        let key = self.node().key(self);
        Arc::clone(&self.graph().node(key).driver)
    }

    /// Empties the image: what is read is then what the backing image has
    /// (`bdrv_make_empty`). Somebody above may write, which the section does
    /// not give and whoever calls has to have.
    ///
    /// # Errors
    /// [`GraphError::ReadOnly`] when nobody above may write;
    /// [`GraphError::Refused`] when the driver cannot.
    pub fn make_empty(&mut self) -> Result<(), GraphError> {
        let view = self.node().view(self);
        if !view.cumulative_perm().intersects(Perm::WRITES) {
            return Err(GraphError::ReadOnly);
        }
        let name = view.filename(self);
        let driver = self.own_driver();
        driver.make_empty(self).map_err(|error| match error {
            GraphError::Io(error) => {
                refused(error.errno(), format!("Failed to empty {name}: {error}"))
            }
            error => error,
        })
    }

    /// Gives the node one more child, if its driver takes any
    /// (`bdrv_add_child`).
    ///
    /// # Errors
    /// [`GraphError::Refused`] when it takes none, or the child has a parent.
    pub fn add_child(&mut self, child: &Node) -> Result<(), GraphError> {
        let driver = self.own_driver();
        let text = if !driver.takes_children() {
            let name = self.node().view(self).device_or_node_name();
            format!("The node {name} does not support adding a child")
        } else if child.view(self).parents().next().is_some() {
            format!("The node {} already has a parent", child.name())
        } else {
            return driver.add_child(self, child);
        };
        Err(refused(errno::EINVAL, text))
    }

    /// Takes from the node the child called `edge`, if its driver can do
    /// without (`bdrv_del_child`).
    ///
    /// # Errors
    /// [`GraphError::Refused`] when it cannot, or has no such child.
    pub fn del_child(&mut self, edge: &str) -> Result<(), GraphError> {
        let driver = self.own_driver();
        let name = self.node().view(self).device_or_node_name();
        let text = if !driver.takes_children() {
            format!("The node {name} does not support removing a child")
        } else if self.node().view(self).child(edge).is_none() {
            format!("The node {name} does not have a child named {edge}")
        } else {
            return driver.del_child(self, edge);
        };
        Err(refused(errno::EINVAL, text))
    }
}

/// An amendment that has been prepared, and not been cleaned up yet.
///
/// What runs it is I/O and needs [`ready`](Amendment::ready); what it has to
/// have of global state (permissions on the image's file, say) the main loop
/// has got for it before, and gives back when this ends. Dropped on any
/// thread, it ends when the main loop next runs.
#[must_use = "what was prepared is given back when this is dropped"]
pub struct Amendment {
    layer: Arc<LayerShared>,
    node: Node,
    ready: Option<AmendReady>,
}

impl fmt::Debug for Amendment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Amendment({})", self.node.name())
    }
}

impl Node {
    /// Prepares a change of the image's own options (`bdrv_amend_pre_run`).
    /// With `force` the driver does also what may lose data.
    ///
    /// # Errors
    /// [`GraphError::Refused`] when the driver cannot, or not that.
    pub fn prepare_amend(
        &self,
        bql: &mut BqlGuard,
        options: &Value,
        force: bool,
    ) -> Result<Amendment, GraphError> {
        let driver = Arc::clone(&bql.graph().node(self.key(bql)).driver);
        let kept = driver.amend_pre_run(bql, self, options, force)?;
        let ready = AmendReady::new(bql.access(), self.io().uid(), kept);
        Ok(Amendment {
            layer: Arc::clone(bql.state().shared()),
            node: self.clone(),
            ready: Some(ready),
        })
    }
}

impl Drained<'_> {
    /// Changes the image's own options, from beginning to end
    /// (`bdrv_amend_options`).
    ///
    /// # Errors
    /// Those of [`Node::prepare_amend`], and of
    /// [`Request::amend`](block_io::Request::amend).
    pub fn amend_options(&mut self, options: &Value, force: bool) -> Result<(), GraphError> {
        let node = self.node().clone();
        let prepared = self.with_guard(|bql| node.prepare_amend(bql, options, force))?;
        self.amend_prepared(prepared)
    }

    /// As [`amend_options`](Drained::amend_options), and tells `progress` how
    /// far it is.
    ///
    /// # Errors
    /// Those of [`amend_options`](Drained::amend_options).
    pub fn amend_options_telling(
        &mut self,
        options: &Value,
        force: bool,
        progress: Box<AmendProgress>,
    ) -> Result<(), GraphError> {
        let node = self.node().clone();
        let prepared = self.with_guard(|bql| node.prepare_amend(bql, options, force))?;
        self.amend_prepared(prepared.telling(progress))
    }

    fn amend_prepared(&mut self, prepared: Amendment) -> Result<(), GraphError> {
        let outcome = self.io(async |request| request.amend(prepared.ready()?).await);
        self.with_guard(|bql| prepared.end(bql));
        Ok(outcome?)
    }
}

impl Amendment {
    /// Lets `progress` be told how far it is.
    pub fn telling(mut self, progress: Box<AmendProgress>) -> Self {
        self.ready = self.ready.take().map(|ready| ready.telling(progress));
        self
    }

    /// What [`Request::amend`](block_io::Request::amend) needs.
    ///
    /// # Errors
    /// `ECANCELED` when it has ended.
    pub fn ready(&self) -> Result<&AmendReady, IoError> {
        self.ready.as_ref().ok_or(IoError::Cancelled)
    }

    /// Gives back what was prepared (`bdrv_amend_clean`).
    pub fn end(mut self, bql: &mut BqlGuard) {
        if let Some(ready) = self.ready.take() {
            clean(bql, &self.node, ready);
        }
    }
}

fn clean(bql: &mut BqlGuard, node: &Node, ready: AmendReady) {
    let kept: Box<dyn Any + Send + Sync> = ready.into_kept(bql.access());
    let driver = Arc::clone(&bql.graph().node(node.key(bql)).driver);
    driver.amend_clean(bql, node, kept);
}

impl Drop for Amendment {
    fn drop(&mut self) {
        let Some(ready) = self.ready.take() else {
            return;
        };
        let node = self.node.clone();
        self.layer.schedule(Box::new(move |bql| {
            // The layer may have closed the node although it had a handle.
            if node.is_open(bql) {
                clean(bql, &node, ready);
            }
        }));
    }
}
