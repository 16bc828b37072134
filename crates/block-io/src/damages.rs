//! Images that are damaged, on their way to the main loop: only that knows the
//! device above.

use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use block_common::sync::Mutex;

use crate::{GsAccess, NodeUid, Request};

/// What a driver has found out about its image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Which node's image it is.
    pub node: NodeUid,
    /// What the node is called.
    pub node_name: String,
    /// What is wrong.
    pub message: String,
    /// What somebody was about to write or read there, in bytes of the file.
    pub range: Option<Range<u64>>,
    /// The image has been marked, and nothing is written to it any more.
    pub fatal: bool,
}

/// What the nodes of a block layer have reported, and nobody was told of yet.
#[derive(Default)]
pub struct Damages {
    found: Mutex<Vec<Damage>>,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for Damages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Damages({})", self.found.lock().len())
    }
}

impl Damages {
    /// Sets who is called, on any thread, when there is something to
    /// [take](Damages::take). Once.
    pub fn set_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        let first = self.wake.set(Box::new(wake));
        debug_assert!(first.is_ok(), "there is one main loop");
    }

    /// What was reported since this was last asked, in that order.
    pub fn take(&self, _gs: &GsAccess) -> Vec<Damage> {
        std::mem::take(&mut *self.found.lock())
    }

    fn report(&self, damage: Damage) {
        self.found.lock().push(damage);
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }
}

impl Request<'_> {
    /// Reports that the node's image is damaged, for
    /// [`BackendEvent::ImageCorrupted`](crate::BackendEvent::ImageCorrupted):
    /// `message` says what is wrong, `range` which bytes of the file somebody
    /// was about to touch, and `fatal` that nothing is written any more. A
    /// driver reports an image once, and once more when it becomes fatal
    /// (`qapi_event_send_block_image_corrupted`). Never waits.
    pub fn report_damage(self, message: &str, range: Option<Range<u64>>, fatal: bool) {
        let node = self.node();
        let Some(events) = node.events() else {
            return;
        };
        events.damages().report(Damage {
            node: node.uid(),
            node_name: node.name().to_owned(),
            message: message.to_owned(),
            range,
            fatal,
        });
    }
}
