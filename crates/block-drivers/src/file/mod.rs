//! `file` and `host_device`: regular files and devices of the host.
//!
//! | module | what |
//! |---|---|
//! | [`create`] | making image files |
//! | `lock` | permissions, as other processes see them |
//! | `open` | from a path to a descriptor |
//! | `opened` | what a file is open by |
//! | `options` | from options to a node |
//! | [`probe`] | what a file is and asks of requests |
//! | `reopen` | opening it in another way |
//! | `requests` | what requests do with it |
//! | [`space`] | holes, zeroes, length, copies: system calls for worker threads |

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};

use block_common::role::PermPair;
use block_gs::{
    BlockDriver, BlockSizes, BqlCell, BqlGuard, Drained, GraphError, NodeView, Perm,
    PreparedReopen, ReopenTo, Value,
};
use block_io::{BlockLimits, GraphCell, Request};

pub mod create;
mod lock;
mod open;
mod opened;
mod options;
pub mod probe;
mod reopen;
mod requests;
pub mod space;

pub use create::CreateOptions;
pub use lock::Locking;
pub use open::{Aio, Protocol};
pub use options::FileOptions;
pub use probe::Geometry;
use probe::{Kind, Medium};
pub use reopen::FileSettings;

use opened::Opened;
use requests::{How, Refused};

/// A file or device of the host (`file-posix.c`, drivers `file` and
/// `host_device`).
///
/// A protocol driver: it has no children. The file is opened once, for
/// writing too unless the node is read-only; with
/// [`auto_read_only`](FileOptions::auto_read_only) a second time when the
/// first writer comes. A reopen opens it anew, and requests read the new
/// descriptor from the end of its section on.
///
/// What the node's parents do and do not share is said to other processes
/// too, in locks on the file ([`Locking`]).
#[derive(Debug)]
pub struct File {
    protocol: Protocol,
    /// What it was opened by.
    path: PathBuf,
    kind: Kind,
    /// It takes commands, and nothing else.
    scsi_generic: bool,
    medium: Medium,
    how: How,
    /// Durable writes were offered when the node was made.
    durable_writes: bool,
    opened: GraphCell<Arc<Opened>>,
    /// The same, for global-state code.
    current: BqlCell<RefCell<Arc<Opened>>>,
    /// What takes its place if a reopen succeeds, which keeps it.
    pending: BqlCell<RefCell<Weak<Opened>>>,
    force_share: bool,
    /// What the kernel said when it could not make writes durable: what it
    /// has dropped since, no later attempt brings back.
    lost: Arc<OnceLock<i32>>,
    /// Ways of zeroing that the file system does not have.
    refused: Refused,
}

impl File {
    /// What the file is and asks of requests, as it is open now.
    pub fn geometry(&self, bql: &BqlGuard) -> Geometry {
        self.current(bql).geometry
    }

    fn current(&self, bql: &BqlGuard) -> Arc<Opened> {
        Arc::clone(&self.current.get(bql).borrow())
    }

    fn pending(&self, bql: &BqlGuard) -> Option<Arc<Opened>> {
        self.pending.get(bql).borrow().upgrade()
    }

    /// What requests use.
    fn opened<'r>(&'r self, request: Request<'r>) -> &'r Opened {
        self.opened.get(request)
    }

    /// Lets what will be open in a moment have the permissions too. Whether
    /// what is open now can have them does not matter then.
    fn check_perm_of(
        &self,
        bql: &BqlGuard,
        now: &Opened,
        soon: Option<&Opened>,
        asked: PermPair,
    ) -> Result<(), GraphError> {
        let prepare =
            |opened: &Opened| opened.prepare_writing(bql, &self.path, self.protocol, asked.perm);
        let others = self.of_others(asked);
        match soon {
            None => prepare(now)?,
            Some(soon) => {
                prepare(soon)?;
                let _ = prepare(now);
                soon.fall_silent(bql);
            }
        }
        if let Some(locks) = &now.locks {
            locks.get(bql).prepare(now.locked(), others)?;
        }
        match soon {
            Some(soon) => soon.say(bql, now, others),
            None => Ok(()),
        }
    }
}

impl BlockDriver for File {
    fn format_name(&self) -> &'static str {
        self.protocol.name()
    }

    fn filename(&self, _bql: &BqlGuard, _node: NodeView<'_>) -> Option<String> {
        Some(self.path.display().to_string())
    }

    fn strong_options(&self, _bql: &BqlGuard) -> Vec<(&'static str, Value)> {
        vec![("filename", self.path.display().to_string().into())]
    }

    /// Files know nothing that is of interest.
    fn specific_info(&self, _bql: &BqlGuard) -> Option<Value> {
        Some(Value::map([]))
    }

    /// A file that grows has holes. What a device holds nobody knows.
    fn has_zero_init(&self, _bql: &BqlGuard, _node: NodeView<'_>) -> Option<bool> {
        Some(self.kind == Kind::Regular)
    }

    fn is_scsi_generic(&self, _bql: &BqlGuard, _node: NodeView<'_>) -> Option<bool> {
        Some(self.scsi_generic)
    }

    fn block_sizes(&self, bql: &BqlGuard, _node: NodeView<'_>) -> Option<BlockSizes> {
        let geometry = self.geometry(bql);
        Some(BlockSizes {
            logical: geometry.logical_block?,
            physical: geometry.physical_block?,
        })
    }

    fn refresh_limits(&self, bql: &BqlGuard, limits: &mut BlockLimits) -> Result<(), GraphError> {
        let Geometry {
            request_alignment,
            memory_alignment,
            discard_granularity,
            ..
        } = self.geometry(bql);
        limits.request_alignment = request_alignment;
        limits.memory_alignment = memory_alignment;
        limits.optimal_memory_alignment = memory_alignment.max(4096);
        let granularity = discard_granularity.and_then(|bytes| u32::try_from(bytes).ok());
        if let Some(bytes) = granularity.filter(|bytes| bytes.is_power_of_two()) {
            limits.discard_alignment = bytes;
        }
        Ok(())
    }

    /// A descriptor that was opened for reading cannot grant writes, whatever
    /// the node has become since; and other processes have a say.
    fn check_perm(&self, bql: &BqlGuard, asked: PermPair) -> Result<(), GraphError> {
        let (now, soon) = (self.current(bql), self.pending(bql));
        let outcome = self.check_perm_of(bql, &now, soon.as_deref(), asked);
        if outcome.is_err() {
            self.abort_perm_update(bql);
        }
        outcome
    }

    fn set_perm(&self, bql: &BqlGuard, granted: PermPair) {
        let granted = self.of_others(granted);
        self.current(bql).grant(bql, granted);
        // Somebody else's permissions, while a reopen is being prepared.
        if let Some(soon) = self.pending(bql) {
            soon.grant(bql, granted);
        }
    }

    fn abort_perm_update(&self, bql: &BqlGuard) {
        self.current(bql).abort(bql);
        if let Some(soon) = self.pending(bql) {
            soon.abort(bql);
        }
    }

    fn reopens(&self) -> bool {
        true
    }

    fn reopen_prepare(
        &self,
        section: &mut Drained<'_>,
        to: &ReopenTo<'_>,
    ) -> Result<Box<dyn PreparedReopen>, GraphError> {
        self.open_again(section, to)
    }

    /// Whoever still has the driver does not keep others out.
    fn close(&self, bql: &mut BqlGuard) {
        let opened = self.current(bql);
        if let Some(locks) = &opened.locks {
            locks.get(bql).commit(opened.locked(), NOTHING);
        }
    }
}

/// No parent.
const NOTHING: PermPair = PermPair {
    perm: Perm::empty(),
    shared: Perm::all(),
};

impl File {
    /// What other processes are told of what the parents asked.
    fn of_others(&self, asked: PermPair) -> PermPair {
        match self.force_share {
            true => PermPair {
                shared: Perm::all(),
                ..asked
            },
            false => asked,
        }
    }
}

#[cfg(test)]
mod tests {
    use block_gs::BlockLayer;
    use block_io::NodeIdentity;
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn a_descriptor_for_reading_grants_no_writes_to_a_node_that_became_writable() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("image");
        File::create(&path, 512).expect("created");
        let layer = BlockLayer::new().expect("a block layer");
        let asked = |perm| PermPair {
            perm,
            shared: Perm::all(),
        };
        layer.enter(|bql| {
            let reader = File::new(&path).read_only(true);
            let reader = reader.open_driver(bql, NodeIdentity::fresh().uid());
            let reader = reader.expect("opened");
            for perm in [Perm::WRITE, Perm::WRITE_UNCHANGED, Perm::RESIZE] {
                let refused = reader.check_perm(bql, asked(perm));
                assert!(matches!(refused, Err(GraphError::ReadOnly)), "{perm}");
            }
            let granted = reader.check_perm(bql, asked(Perm::CONSISTENT_READ));
            granted.expect("reading is fine");
            let writer = File::new(&path).open_driver(bql, NodeIdentity::fresh().uid());
            let writer = writer.expect("opened");
            let granted = writer.check_perm(bql, asked(Perm::all()));
            granted.expect("this one is writable");
        });
    }

    #[test]
    fn a_writer_who_is_refused_leaves_the_file_open_for_reading_only() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("image");
        File::create(&path, 512).expect("created");
        let layer = BlockLayer::new().expect("a block layer");
        let writer = PermPair {
            perm: Perm::WRITE,
            shared: Perm::all(),
        };
        layer.enter(|bql| {
            let file = File::new(&path).auto_read_only(true);
            let file = file.open_driver(bql, NodeIdentity::fresh().uid());
            let file = file.expect("opened");
            let opened = file.current(bql);
            let first: *const OwnedFd = &**opened.io().fd();
            let is_first = || std::ptr::eq(first, &**opened.io().fd());
            file.check_perm(bql, writer).expect("it can be written");
            assert!(is_first(), "not yet granted");
            file.abort_perm_update(bql);
            assert!(is_first());
            file.set_perm(bql, NOTHING);
            assert!(is_first(), "what was refused is gone");

            file.check_perm(bql, writer).expect("it can be written");
            file.set_perm(bql, writer);
            assert!(!is_first());
            rustix::io::pwrite(opened.io().fd(), b"x", 0).expect("it is for writing");
        });
    }
}
