//! `file` and `host_device`: regular files and devices of the host.
//!
//! | module | what |
//! |---|---|
//! | [`create`] | making image files |
//! | `lock` | permissions, as other processes see them |
//! | `open` | from a path to a descriptor |
//! | `options` | from options to a node |
//! | [`probe`] | what a file is and asks of requests |
//! | `requests` | what requests do with it |
//! | [`space`] | holes, zeroes, length, copies: system calls for worker threads |

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use block_common::role::PermPair;
use block_gs::{BlockDriver, BlockSizes, BqlCell, BqlGuard, GraphError, NodeView, Perm, Value};
use block_io::BlockLimits;
use block_io::file::FileIo;

pub mod create;
mod lock;
mod open;
mod options;
pub mod probe;
mod requests;
pub mod space;

pub use create::CreateOptions;
pub use lock::Locking;
pub use open::{Aio, Protocol};
pub use options::FileOptions;
pub use probe::Geometry;
use probe::Kind;

use lock::HostLocks;
use open::Access;
use requests::{How, Refused};

/// What a node needs that may change the file.
const CHANGES: Perm = Perm::WRITES.union(Perm::RESIZE);

/// A file or device of the host (`file-posix.c`, drivers `file` and
/// `host_device`).
///
/// A protocol driver: it has no children. The file is opened once, for
/// writing too unless the node is read-only; with
/// [`auto_read_only`](FileOptions::auto_read_only) a second time when the
/// first writer comes. Requests read either descriptor without any proof:
/// neither changes while the node exists.
///
/// What the node's parents do and do not share is said to other processes
/// too, in locks on the file ([`Locking`]).
#[derive(Debug)]
pub struct File {
    protocol: Protocol,
    /// What it was opened by.
    path: PathBuf,
    io: FileIo,
    geometry: Geometry,
    writing: Writing,
    force_share: bool,
    locks: Option<BqlCell<HostLocks>>,
    /// What the kernel said when it could not make writes durable: what it
    /// has dropped since, no later attempt brings back.
    lost: Arc<OnceLock<i32>>,
    /// Ways of zeroing that the file system does not have.
    refused: Refused,
}

/// How the file gets written.
#[derive(Debug)]
enum Writing {
    /// It does not.
    Never,
    /// Through the first descriptor.
    Always,
    /// Through a second one, which is opened for the first writer.
    OnDemand {
        path: PathBuf,
        direct: bool,
        io: OnceLock<FileIo>,
        how: How,
        /// Opened for a writer who has not got the permission yet.
        prepared: BqlCell<Cell<Option<OwnedFd>>>,
    },
}

impl File {
    /// What the file is and asks of requests, as it was when opened.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The descriptor for requests.
    fn io(&self) -> &FileIo {
        match &self.writing {
            Writing::OnDemand { io, .. } => io.get().unwrap_or(&self.io),
            Writing::Never | Writing::Always => &self.io,
        }
    }

    /// Opens the file for writing if that is called for, and not yet so.
    fn prepare_writing(&self, bql: &BqlGuard, perm: Perm) -> Result<(), GraphError> {
        if !perm.intersects(CHANGES) {
            return Ok(());
        }
        match &self.writing {
            Writing::Always => Ok(()),
            Writing::Never => Err(GraphError::ReadOnly),
            Writing::OnDemand {
                path,
                direct,
                io,
                prepared,
                ..
            } => {
                if io.get().is_none() {
                    let access = Access {
                        write: true,
                        direct: *direct,
                    };
                    let opened = open::open_again(path, self.protocol, access, self.io.fd())?;
                    prepared.get(bql).set(Some(opened));
                }
                Ok(())
            }
        }
    }

    fn abort_writing(&self, bql: &BqlGuard) {
        if let Writing::OnDemand { prepared, .. } = &self.writing {
            prepared.get(bql).set(None);
        }
    }
}

impl BlockDriver for File {
    fn format_name(&self) -> &'static str {
        self.protocol.name()
    }

    fn filename(&self, _bql: &BqlGuard) -> Option<String> {
        Some(self.path.display().to_string())
    }

    fn strong_options(&self, _bql: &BqlGuard) -> Vec<(&'static str, Value)> {
        vec![("filename", self.path.display().to_string().into())]
    }

    /// Regular files know nothing that is of interest.
    fn specific_info(&self, _bql: &BqlGuard) -> Option<Value> {
        (self.geometry.kind == Kind::Regular).then(|| Value::map([]))
    }

    /// A file that grows has holes. What a device holds nobody knows.
    fn has_zero_init(&self, _bql: &BqlGuard, _node: NodeView<'_>) -> Option<bool> {
        Some(self.geometry.kind == Kind::Regular)
    }

    fn is_scsi_generic(&self, _bql: &BqlGuard, _node: NodeView<'_>) -> Option<bool> {
        Some(self.geometry.scsi_generic)
    }

    fn block_sizes(&self, _bql: &BqlGuard, _node: NodeView<'_>) -> Option<BlockSizes> {
        Some(BlockSizes {
            logical: self.geometry.logical_block?,
            physical: self.geometry.physical_block?,
        })
    }

    fn refresh_limits(&self, _bql: &BqlGuard, limits: &mut BlockLimits) -> Result<(), GraphError> {
        let Geometry {
            request_alignment,
            memory_alignment,
            discard_granularity,
            ..
        } = self.geometry;
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
        self.prepare_writing(bql, asked.perm)?;
        let Some(locks) = &self.locks else {
            return Ok(());
        };
        let outcome = locks
            .get(bql)
            .prepare(self.io.fd().as_fd(), self.of_others(asked));
        if outcome.is_err() {
            self.abort_writing(bql);
        }
        outcome
    }

    fn set_perm(&self, bql: &BqlGuard, granted: PermPair) {
        if let Writing::OnDemand {
            io, how, prepared, ..
        } = &self.writing
            && let Some(opened) = prepared.get(bql).take()
        {
            io.get_or_init(|| requests::file_io(opened, &self.geometry, *how));
        }
        if let Some(locks) = &self.locks {
            locks
                .get(bql)
                .commit(self.io.fd().as_fd(), self.of_others(granted));
        }
    }

    fn abort_perm_update(&self, bql: &BqlGuard) {
        self.abort_writing(bql);
        if let Some(locks) = &self.locks {
            locks.get(bql).abort(self.io.fd().as_fd());
        }
    }

    /// Whoever still has the driver does not keep others out.
    fn close(&self, bql: &mut BqlGuard) {
        if let Some(locks) = &self.locks {
            locks.get(bql).commit(self.io.fd().as_fd(), NOTHING);
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
            let reader = File::new(&path).read_only(true).open_driver(bql);
            let reader = reader.expect("opened");
            for perm in [Perm::WRITE, Perm::WRITE_UNCHANGED, Perm::RESIZE] {
                let refused = reader.check_perm(bql, asked(perm));
                assert!(matches!(refused, Err(GraphError::ReadOnly)), "{perm}");
            }
            let granted = reader.check_perm(bql, asked(Perm::CONSISTENT_READ));
            granted.expect("reading is fine");
            let writer = File::new(&path).open_driver(bql).expect("opened");
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
            let file = File::new(&path).auto_read_only(true).open_driver(bql);
            let file = file.expect("opened");
            let first: *const OwnedFd = &**file.io().fd();
            let is_first = || std::ptr::eq(first, &**file.io().fd());
            file.check_perm(bql, writer).expect("it can be written");
            assert!(is_first(), "not yet granted");
            file.abort_perm_update(bql);
            assert!(is_first());
            file.set_perm(bql, NOTHING);
            assert!(is_first(), "what was refused is gone");

            file.check_perm(bql, writer).expect("it can be written");
            file.set_perm(bql, writer);
            assert!(!is_first());
            rustix::io::pwrite(file.io().fd(), b"x", 0).expect("it is for writing");
        });
    }
}
