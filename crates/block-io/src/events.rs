//! What backends tell the monitor, from whichever thread.
//!
//! A device learns in an iothread that a request failed, or that its guest
//! opened the tray. Whoever wants to know is called there and then; the
//! values of an event are its own, so a listener can send it on. A listener
//! gets no proof: to do something about an event in the global state it asks
//! the main loop.
//!
//! What a node has to tell goes through the main loop, which knows the device
//! above it, and is called there ([`Damages`]).

use std::fmt;
use std::sync::Arc;

use block_common::sync::Mutex;
use block_common::{ErrorAction, Operation};

use crate::{Damages, Resizes};

/// A tray was opened or closed, by guest or user (`DEVICE_TRAY_MOVED`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceTrayMoved {
    /// The name of the backend; empty for an unnamed one.
    pub device: String,
    /// The id of the device, else its path; empty without a device.
    pub id: String,
    /// Whether it is open now.
    pub tray_open: bool,
}

/// A request of a device failed (`BLOCK_IO_ERROR`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockIoError {
    /// The path of the device; empty without one.
    pub qom_path: String,
    /// The name of the backend; empty for an unnamed one.
    pub device: String,
    /// The node below the backend, if there is one.
    pub node_name: Option<String>,
    /// What the request was to do.
    pub operation: Operation,
    /// What is done about it.
    pub action: ErrorAction,
    /// Whether it failed for want of space; known where
    /// [the status is kept](crate::Root::keeps_io_status).
    pub nospace: Option<bool>,
    /// The error in words. For people, it may change.
    pub reason: String,
}

/// An image is not what it should be (`BLOCK_IMAGE_CORRUPTED`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageCorrupted {
    /// The name of the backend above; empty without one that has a name.
    pub device: String,
    /// The node.
    pub node_name: String,
    /// What is wrong. For people, it may change.
    pub message: String,
    /// Where in the file somebody was about to write or read, in bytes, if
    /// that is what is wrong.
    pub offset: Option<u64>,
    /// How much, in bytes.
    pub size: Option<u64>,
    /// The image is marked, and nothing is written to it any more.
    pub fatal: bool,
}

/// What a backend, or a node below it, has to tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BackendEvent {
    /// A tray was moved.
    TrayMoved(DeviceTrayMoved),
    /// A request failed.
    IoError(BlockIoError),
    /// An image is damaged. Told in the main loop, once or twice for an image:
    /// as long as it is only read, and when that is fatal.
    ImageCorrupted(ImageCorrupted),
}

/// Stops the machine when a request fails whose policy is
/// [`ErrorAction::Stop`]. The two calls are made on the thread of the request
/// and must not wait: the machine stops a moment later.
pub trait Machine: Send + Sync {
    /// A stop will be asked for. Called before the event is sent, so that a
    /// resume in answer to the event is not lost
    /// (`qemu_system_vmstop_request_prepare`).
    fn prepare_stop(&self) {}

    /// Stop because of an I/O error (`qemu_system_vmstop_request`).
    fn stop(&self);
}

type Listener = Arc<dyn Fn(&BackendEvent) + Send + Sync>;

/// Who is told what backends have to tell. One for each block layer.
#[derive(Default)]
pub struct Events {
    listeners: Mutex<Listeners>,
    machine: Mutex<Option<Arc<dyn Machine>>>,
    resizes: Resizes,
    damages: Damages,
}

#[derive(Default)]
struct Listeners {
    next: u64,
    all: Vec<(u64, Listener)>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Events({} listeners)", self.listeners.lock().all.len())
    }
}

impl Events {
    /// Calls `listener` with each event, until what is returned is dropped.
    /// Any thread; the listener is called on the thread of the event, several
    /// at once, and must not wait.
    pub fn listen(
        self: &Arc<Self>,
        listener: impl Fn(&BackendEvent) + Send + Sync + 'static,
    ) -> Listening {
        let mut listeners = self.listeners.lock();
        listeners.next += 1;
        let id = listeners.next;
        listeners.all.push((id, Arc::new(listener)));
        Listening {
            events: Arc::clone(self),
            id,
        }
    }

    /// Sets who stops the machine.
    pub fn set_machine(&self, machine: Option<Arc<dyn Machine>>) {
        let before = std::mem::replace(&mut *self.machine.lock(), machine);
        drop(before);
    }

    pub(crate) fn machine(&self) -> Option<Arc<dyn Machine>> {
        self.machine.lock().clone()
    }

    /// Which nodes have got another length, for the main loop.
    pub fn resizes(&self) -> &Resizes {
        &self.resizes
    }

    /// Which images are damaged, for the main loop.
    pub fn damages(&self) -> &Damages {
        &self.damages
    }

    /// Tells everybody. Listeners run without a lock held, so they may listen
    /// and stop listening; one that stops meanwhile may be called once more.
    pub fn tell(&self, event: &BackendEvent) {
        let listeners: Vec<Listener> = {
            let known = self.listeners.lock();
            known
                .all
                .iter()
                .map(|(_, listener)| Arc::clone(listener))
                .collect()
        };
        for listener in listeners {
            listener(event);
        }
    }
}

/// Somebody listens. Dropping it ends that.
#[must_use = "dropping it ends the listening; bind it to a name"]
pub struct Listening {
    events: Arc<Events>,
    id: u64,
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listening({})", self.id)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut listeners = self.events.listeners.lock();
        let place = listeners.all.iter().position(|(id, _)| *id == self.id);
        let gone = place.map(|place| listeners.all.remove(place));
        drop(listeners);
        // What the listener owns is dropped without the lock.
        drop(gone);
    }
}

#[cfg(all(test, not(block_loom)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn who_stops_listening_hears_no_more_and_may_do_so_while_listening() {
        let events = Arc::new(Events::default());
        let heard = Arc::new(AtomicUsize::new(0));
        let kept: Arc<Mutex<Option<Listening>>> = Arc::default();
        let (count, slot) = (Arc::clone(&heard), Arc::clone(&kept));
        let listening = events.listen(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            let own = slot.lock().take();
            drop(own);
        });
        *kept.lock() = Some(listening);
        let event = BackendEvent::TrayMoved(DeviceTrayMoved {
            device: "cd".into(),
            id: String::new(),
            tray_open: true,
        });
        events.tell(&event);
        events.tell(&event);
        assert_eq!(heard.load(Ordering::Relaxed), 1);
    }
}
