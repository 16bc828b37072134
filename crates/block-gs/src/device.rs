//! Devices: who a backend works for.
//!
//! A device has two halves, as a driver has. [`DeviceIo`] is what I/O code
//! asks in any thread; [`DeviceOps`] is what only the main loop asks, each
//! with the proof that says so. QEMU's `BlockDevOps` is one table with a
//! comment beside each entry.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use block_common::error::errno;
use block_common::{GraphError, Perm};
use block_io::{BackendEvent, DeviceIdentity, DeviceIo, ImageCorrupted, NodeUid};

use crate::graph::{BackendKey, NodeKey, ParentRef};
use crate::{Backend, BqlGuard, Node, NodeView};

/// What the main loop asks of, and tells to, the device of a backend (the
/// part of `BlockDevOps` that is called with the BQL held).
///
/// The drain callbacks get a shared proof: they cannot poll, and they cannot
/// change the graph under the walk that calls them.
pub trait DeviceOps: DeviceIo + 'static {
    /// What it does with media that can be changed, if it takes such.
    fn removable(&self) -> Option<&dyn RemovableOps> {
        None
    }

    /// Begin no more requests: take no more from the guest. Called once until
    /// [`drained_end`](DeviceOps::drained_end), however many sections there
    /// are; also when the device is attached inside one.
    ///
    /// What it begins all the same waits at the gate, so a device whose
    /// requests come one by one need not do anything.
    fn drained_begin(&self, _bql: &BqlGuard) {}

    /// Whether something of the device's own is still under way. Its requests
    /// are counted without it. Whoever ends it calls
    /// [`MainLoop::kick`](crate::MainLoop::kick) afterwards, or the
    /// [waker](BqlGuard::waker) that was left with it here.
    fn drained_poll(&self, _bql: &BqlGuard) -> bool {
        false
    }

    /// Go on.
    fn drained_end(&self, _bql: &BqlGuard) {}

    /// The medium is about to be taken away
    /// (`blk_add_remove_bs_notifier`).
    fn removing_medium(&self, _bql: &BqlGuard) {}
}

/// What the main loop asks of a device whose medium can be changed.
pub trait RemovableOps {
    /// There is another medium (`load`), or none any more
    /// (`change_media_cb`). It gets the exclusive proof, because it asks for
    /// other permissions.
    ///
    /// # Errors
    /// Refusals of a new medium; that a medium is gone cannot be refused, and
    /// an error is ignored.
    fn change_media(&self, bql: &mut BqlGuard, load: bool) -> Result<(), GraphError>;

    /// The user would like the guest to open the tray (`eject_request_cb`).
    /// With `force` the guest is not asked.
    fn eject_request(&self, _bql: &mut BqlGuard, _force: bool) {}

    /// Whether the guest keeps the tray locked (`is_medium_locked`).
    fn is_medium_locked(&self, _bql: &BqlGuard) -> bool {
        false
    }
}

/// A device of a backend as the graph keeps it.
pub(crate) struct DeviceState {
    pub ops: Arc<dyn DeviceOps>,
    identity: DeviceIdentity,
    /// Which attachment it is.
    number: u64,
}

/// A device is attached to a backend, and keeps it. Dropping it lets the main
/// loop detach the device.
///
/// The backend keeps the device while it is attached. So a device that has its
/// own attachment inside goes only after that was [detached](Attachment::detach),
/// or with the block layer.
#[must_use = "dropping it detaches the device"]
pub struct Attachment {
    backend: Backend,
    number: u64,
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attachment({:?})", self.backend)
    }
}

impl Attachment {
    /// What the device is attached to.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Detaches the device (`blk_detach_dev`). What it wanted of the node it
    /// wants no more. It takes the exclusive proof because permissions
    /// change.
    pub fn detach(self, bql: &mut BqlGuard) {
        let key = self.backend.key(bql);
        detach(bql, key, self.number);
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let number = self.number;
        self.backend
            .when_unused(move |bql, key| detach(bql, key, number));
    }
}

fn detach(bql: &mut BqlGuard, key: BackendKey, number: u64) {
    let Some(backend) = bql.graph_mut().backends.get_mut(key) else {
        return;
    };
    let device = backend.device.take_if(|device| device.number == number);
    if device.is_none() {
        return;
    }
    backend.device_quiesced.set(false);
    let root = backend.root.clone();
    root.set_device(bql.access(), None);
    drop(device);
    if let Some(backend) = Backend::of(bql, key) {
        // Nobody can refuse that somebody wants less.
        let _ = backend.set_perm(bql, Perm::empty(), Perm::all());
    }
}

impl Backend {
    /// Attaches a device (`blk_attach_dev`, `blk_set_dev_ops`): one at a
    /// time. I/O code finds its identity and [`DeviceIo`] at the root from
    /// now on. Inside a drained section the device is told so.
    ///
    /// # Errors
    /// [`GraphError::Refused`] with `EBUSY` when there is a device already.
    pub fn attach_device(
        &self,
        bql: &mut BqlGuard,
        identity: DeviceIdentity,
        ops: Arc<dyn DeviceOps>,
    ) -> Result<Attachment, GraphError> {
        let key = self.key(bql);
        bql.reap();
        let graph = bql.graph_mut();
        if graph.backends[key].device.is_some() {
            return Err(GraphError::Refused {
                message: format!(
                    "Drive '{}' is already in use by another device",
                    self.name()
                ),
                errno: errno::EBUSY,
            });
        }
        graph.attachments += 1;
        let number = graph.attachments;
        let io: Arc<dyn DeviceIo> = ops.clone();
        graph.backends[key].device = Some(DeviceState {
            ops,
            identity: identity.clone(),
            number,
        });
        self.root().set_device(bql.access(), Some((identity, io)));
        self.root().reset_io_status();
        // Before the device is told: if that panics, it is detached.
        let attachment = Attachment {
            backend: self.clone(),
            number,
        };
        tell_quiesced(bql, key);
        Ok(attachment)
    }

    /// The device that is attached (`blk_get_attached_dev`). I/O code asks
    /// [`Root::device`](block_io::Root::device) who it is.
    pub fn device(&self, bql: &BqlGuard) -> Option<Arc<dyn DeviceOps>> {
        let device = bql.graph().backends[self.key(bql)].device.as_ref()?;
        Some(Arc::clone(&device.ops))
    }

    /// The backend of this device (`blk_by_dev`).
    pub fn by_device(bql: &BqlGuard, device: &Arc<dyn DeviceOps>) -> Option<Backend> {
        by(bql, |known| Arc::ptr_eq(&known.ops, device))
    }

    /// The backend of the device with this id, or else with this path
    /// (`blk_by_qdev_id`).
    ///
    /// # Errors
    /// [`GraphError::Refused`] with `ENOENT` when no backend has a device of
    /// that name.
    pub fn by_device_id(bql: &BqlGuard, id: &str) -> Result<Backend, GraphError> {
        let found = match id.is_empty() {
            true => None,
            false => by(bql, |known| known.identity.id == id)
                .or_else(|| by(bql, |known| known.identity.path == id)),
        };
        found.ok_or_else(|| GraphError::Refused {
            message: format!("Device '{id}' not found"),
            errno: errno::ENOENT,
        })
    }

    /// Whether the medium can be changed: no device is in the way, or one
    /// that takes such media (`blk_dev_has_removable_media`).
    pub fn has_removable_media(&self, bql: &BqlGuard) -> bool {
        self.device(bql)
            .is_none_or(|device| device.removable().is_some())
    }

    /// Tells the device that there is another medium, or none any more, and
    /// listeners if it has moved its tray then (`blk_dev_change_media_cb`).
    /// Nothing where the device has no such media.
    ///
    /// # Errors
    /// What the device says of a new medium.
    pub fn change_media(&self, bql: &mut BqlGuard, load: bool) -> Result<(), GraphError> {
        let Some(device) = self.device(bql) else {
            return Ok(());
        };
        let Some(removable) = device.removable() else {
            return Ok(());
        };
        let was_open = self.root().is_tray_open();
        let changed = removable.change_media(bql, load);
        if load {
            changed?;
        }
        let is_open = self.root().is_tray_open();
        if is_open != was_open {
            self.root().tell_tray_moved(is_open);
        }
        Ok(())
    }

    /// Asks the guest to open the tray (`blk_dev_eject_request`).
    pub fn request_eject(&self, bql: &mut BqlGuard, force: bool) {
        let device = self.device(bql);
        if let Some(removable) = device.as_ref().and_then(|device| device.removable()) {
            removable.eject_request(bql, force);
        }
    }

    /// Whether the guest keeps the tray locked
    /// (`blk_dev_is_medium_locked`).
    pub fn is_medium_locked(&self, bql: &BqlGuard) -> bool {
        let device = self.device(bql);
        let removable = device.as_ref().and_then(|device| device.removable());
        removable.is_some_and(|removable| removable.is_medium_locked(bql))
    }
}

fn by(bql: &BqlGuard, matches: impl Fn(&DeviceState) -> bool) -> Option<Backend> {
    let mut all = bql.graph().backends.iter();
    let (key, _) = all.find(|(_, backend)| backend.device.as_ref().is_some_and(&matches))?;
    Backend::of(bql, key)
}

/// Tells the devices of all backends above, and other parents, that the node
/// has another length (`bdrv_parent_cb_resize`), when it has changed in another
/// way than by a truncation: those tell by themselves.
pub fn tell_resized(bql: &BqlGuard, node: &Node) {
    let above = above(bql, vec![node.key(bql)], &HashSet::new());
    Resized { bql, above }.tell();
}

/// Tells whoever stands above nodes that have been truncated, each once. Who
/// stands above one that is being truncated hears when that is over.
pub(crate) fn tell_truncated(bql: &BqlGuard) {
    let (ended, running) = bql.events().resizes().take(bql.access());
    if ended.is_empty() {
        return;
    }
    let find = |uids: Vec<NodeUid>| {
        let nodes = bql.graph().nodes.iter();
        let known = nodes.filter(move |(_, node)| uids.contains(&node.io.uid()));
        known.map(|(key, _)| key)
    };
    let (ended, running) = (find(ended).collect(), find(running).collect());
    let above = above(bql, ended, &running);
    Resized { bql, above }.tell();
}

/// Tells of images that are damaged, with the device that shows each.
pub(crate) fn tell_damaged(bql: &BqlGuard) {
    for damage in bql.events().damages().take(bql.access()) {
        let mut nodes = crate::nodes(bql);
        // A node that has gone meanwhile has no device.
        let node = nodes.find(|node| node.io().uid() == damage.node);
        let name = |name: Option<&str>| name.unwrap_or_default().to_owned();
        let event = BackendEvent::ImageCorrupted(ImageCorrupted {
            device: name(node.map(NodeView::device_name)),
            node_name: damage.node_name,
            message: damage.message,
            offset: damage.range.as_ref().map(|range| range.start),
            size: damage.range.map(|range| range.end - range.start),
            fatal: damage.fatal,
        });
        bql.events().tell(&event);
    }
}

/// The edges of all parents that are no nodes above any of `nodes`, each once.
/// The way up ends at `closed`.
fn above(bql: &BqlGuard, nodes: Vec<NodeKey>, closed: &HashSet<NodeKey>) -> Vec<ParentRef> {
    let graph = bql.graph();
    let mut seen: HashSet<NodeKey> = nodes.iter().copied().collect();
    let mut stack = nodes;
    let mut found = Vec::new();
    while let Some(key) = stack.pop() {
        for &edge in &graph.node(key).parents {
            match graph.edges[edge].parent {
                ParentRef::Node(parent) if closed.contains(&parent) => {}
                ParentRef::Node(parent) => {
                    if seen.insert(parent) {
                        stack.push(parent);
                    }
                }
                other => found.push(other),
            }
        }
    }
    found
}

/// Who is still to hear of another length: also if one of them panics.
struct Resized<'b> {
    bql: &'b BqlGuard,
    above: Vec<ParentRef>,
}

impl Resized<'_> {
    fn tell(&mut self) {
        let graph = self.bql.graph();
        while let Some(parent) = self.above.pop() {
            match parent {
                ParentRef::Backend(key) => graph.backends[key].root.tell_resized(),
                ParentRef::Other(key) => graph.others[key].class.resized(self.bql),
                ParentRef::Node(_) => {}
            }
        }
    }
}

impl Drop for Resized<'_> {
    fn drop(&mut self) {
        self.tell();
    }
}

/// Tells the device of a backend if its gate has been closed, or opened,
/// since it was last told.
pub(crate) fn tell_quiesced(bql: &BqlGuard, key: BackendKey) {
    let Some(backend) = bql.graph().backends.get(key) else {
        return;
    };
    let Some(device) = &backend.device else {
        return;
    };
    let quiesced = backend.root.quiesce_count() > 0;
    // Noted first: a callback that panics has been called.
    if backend.device_quiesced.replace(quiesced) == quiesced {
        return;
    }
    match quiesced {
        true => device.ops.drained_begin(bql),
        false => device.ops.drained_end(bql),
    }
}

/// [`tell_quiesced`] for each; one that panics does not keep the others from
/// hearing of it.
pub(crate) fn tell_all(bql: &BqlGuard, keys: impl Iterator<Item = BackendKey>) {
    Telling { bql, keys }.tell();
}

struct Telling<'b, K: Iterator<Item = BackendKey>> {
    bql: &'b BqlGuard,
    keys: K,
}

impl<K: Iterator<Item = BackendKey>> Telling<'_, K> {
    fn tell(&mut self) {
        for key in self.keys.by_ref() {
            tell_quiesced(self.bql, key);
        }
    }
}

impl<K: Iterator<Item = BackendKey>> Drop for Telling<'_, K> {
    fn drop(&mut self) {
        self.tell();
    }
}

/// Whether the device of a backend says that it is busy.
pub(crate) fn is_busy(bql: &BqlGuard, key: BackendKey) -> bool {
    let backend = bql.graph().backends.get(key);
    let device = backend.and_then(|backend| backend.device.as_ref());
    device.is_some_and(|device| device.ops.drained_poll(bql))
}
