//! What a root has besides requests: its device, what is done about errors,
//! statistics.
//!
//! Devices use it from their iothreads, the monitor from the main thread.
//! What both write is atomic, what the main thread alone decides is shared
//! immutably and replaced as a whole; nothing here is touched by a request
//! that succeeds.

mod errors;
mod medium;

use std::fmt;
use std::sync::{Arc, Weak};

use block_common::sync::Mutex;

use crate::accounting::Statistics;
use crate::events::{DeviceTrayMoved, Events};
use crate::{BackendEvent, GsAccess, IoNode, Root};

use errors::Policies;

/// Who a device is. Does not change while it is attached.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct DeviceIdentity {
    /// The id that the user gave it; empty if none.
    pub id: String,
    /// Its place among the objects of the machine, such as
    /// `/machine/peripheral/vd0`.
    pub path: String,
}

impl DeviceIdentity {
    /// The id, else the path (`blk_get_attached_dev_id`).
    pub fn id_or_path(&self) -> &str {
        match self.id.is_empty() {
            true => &self.path,
            false => &self.id,
        }
    }
}

/// What requests and other I/O code ask of a device (the part of
/// `BlockDevOps` that is called in any thread).
///
/// Only the device itself knows, so it has to answer from atomics of its own.
/// What is asked under the BQL is `block_gs::DeviceOps`.
pub trait DeviceIo: Send + Sync {
    /// Whether the tray is open; `None` for a device without a tray
    /// (`is_tray_open`).
    fn is_tray_open(&self) -> Option<bool> {
        None
    }

    /// The node below has another length (`resize_cb`). Called in the main
    /// loop, when the truncation is over.
    fn resized(&self) {}
}

/// A device as I/O code sees it.
#[derive(Clone)]
pub struct AttachedDevice {
    identity: DeviceIdentity,
    io: Arc<dyn DeviceIo>,
}

impl fmt::Debug for AttachedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttachedDevice({})", self.identity.id_or_path())
    }
}

impl AttachedDevice {
    /// Who it is.
    pub fn identity(&self) -> &DeviceIdentity {
        &self.identity
    }
}

/// The part of a root that requests do not touch.
#[derive(Default)]
pub(crate) struct Front {
    pub(crate) events: Arc<Events>,
    device: Mutex<Option<Arc<AttachedDevice>>>,
    /// A copy of what the graph says, for messages: a request finds the node
    /// by its edge.
    node: Mutex<Weak<IoNode>>,
    policies: Policies,
    pub(crate) statistics: Statistics,
}

impl Front {
    pub(crate) fn new(events: Arc<Events>) -> Self {
        Front {
            events,
            ..Front::default()
        }
    }
}

impl Root {
    /// Notes which device is attached (`blk_attach_dev`, `blk_set_dev_ops`).
    pub fn set_device(&self, _gs: &GsAccess, device: Option<(DeviceIdentity, Arc<dyn DeviceIo>)>) {
        let new = device.map(|(identity, io)| Arc::new(AttachedDevice { identity, io }));
        let before = std::mem::replace(&mut *self.front().device.lock(), new);
        drop(before);
    }

    /// The device that is attached. Any thread; what it says of the device
    /// stays true for as long as that is attached, also if it is detached
    /// meanwhile (`blk_get_attached_dev_id` reads it off the device itself).
    pub fn device(&self) -> Option<Arc<AttachedDevice>> {
        self.front().device.lock().clone()
    }

    /// The id of the device, else its path; empty without a device
    /// (`blk_get_attached_dev_id`). Any thread.
    pub fn device_id(&self) -> String {
        let device = self.device();
        device.map_or_else(String::new, |device| {
            device.identity.id_or_path().to_owned()
        })
    }

    /// The path of the device; empty without one
    /// (`blk_get_attached_dev_path`). Any thread.
    pub fn device_path(&self) -> String {
        let device = self.device();
        device.map_or_else(String::new, |device| device.identity.path.clone())
    }

    /// Whether the device has a tray (`blk_dev_has_tray`). Any thread.
    pub fn has_tray(&self) -> bool {
        self.device()
            .is_some_and(|device| device.io.is_tray_open().is_some())
    }

    /// Whether the tray of the device is open; not without a tray
    /// (`blk_dev_is_tray_open`). Any thread.
    pub fn is_tray_open(&self) -> bool {
        self.device()
            .is_some_and(|device| device.io.is_tray_open() == Some(true))
    }

    /// Tells the device that the node below has another length
    /// (`blk_root_resize`). Any thread.
    pub fn tell_resized(&self) {
        if let Some(device) = self.device() {
            device.io.resized();
        }
    }

    /// Says that the tray was moved (`qapi_event_send_device_tray_moved`).
    pub fn tell_tray_moved(&self, tray_open: bool) {
        let moved = DeviceTrayMoved {
            device: self.name().to_owned(),
            id: self.device_id(),
            tray_open,
        };
        self.front().events.tell(&BackendEvent::TrayMoved(moved));
    }

    /// Notes which node is below, for messages.
    pub fn note_node(&self, _gs: &GsAccess, node: Option<&Arc<IoNode>>) {
        let node = node.map_or_else(Weak::new, Arc::downgrade);
        let before = std::mem::replace(&mut *self.front().node.lock(), node);
        drop(before);
    }

    /// The name of the node below, for messages: it may be another one by
    /// the time that it is read.
    pub fn node_name(&self) -> Option<String> {
        let node = self.front().node.lock().upgrade();
        node.map(|node| node.name().to_owned())
    }

    /// What is counted of the requests that the device accounts for
    /// (`blk_get_stats`). Any thread.
    pub fn statistics(&self) -> &Statistics {
        &self.front().statistics
    }
}
