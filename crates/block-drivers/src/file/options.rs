//! How a file is to be opened, and the node made of it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use block_gs::{BqlCell, BqlGuard, GraphError, Node, NodeBuilder, NodeOptions};
use block_io::aio::Engine;
use block_io::{GraphCell, NodeUid};

use super::File;
use super::lock::{HostLocks, Locking};
use super::open::{Aio, Protocol, refused};
use super::opened::{self, Mode, Opened};
use super::requests::{How, Refused};
use crate::options::node_options;

impl File {
    /// A node of the regular file at `path`, to be opened (`file`).
    #[expect(
        clippy::new_ret_no_self,
        reason = "a driver is of use inside a node only"
    )]
    pub fn new(path: impl Into<PathBuf>) -> FileOptions {
        FileOptions {
            protocol: Protocol::File,
            path: path.into(),
            options: NodeOptions::default(),
            auto_read_only: false,
            direct: false,
            locking: Locking::Auto,
            how: How::default(),
            aio: None,
        }
    }

    /// A node of the device at `path`, to be opened (`host_device`).
    pub fn device(path: impl Into<PathBuf>) -> FileOptions {
        File::new(path).protocol(Protocol::HostDevice)
    }

    /// A node of whatever is at `path` now, to be opened.
    pub fn at(path: impl Into<PathBuf>) -> FileOptions {
        let path = path.into();
        let protocol = Protocol::for_path(&path);
        File::new(path).protocol(protocol)
    }
}

/// How to open a [`File`].
#[derive(Clone, Debug)]
#[must_use = "the node is made by `open`"]
pub struct FileOptions {
    protocol: Protocol,
    path: PathBuf,
    options: NodeOptions,
    auto_read_only: bool,
    direct: bool,
    locking: Locking,
    how: How,
    aio: Option<Aio>,
}

impl FileOptions {
    /// Which kind of file it has to be (`driver`).
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    node_options!(options, read_only);

    /// Opens the file for reading only until somebody wants to write
    /// (`auto-read-only`). If it cannot be written, then they are refused and
    /// the node is not. Without effect on a node that is read-only.
    pub fn auto_read_only(mut self, auto_read_only: bool) -> Self {
        self.auto_read_only = auto_read_only;
        self
    }

    /// Goes past the page cache (`cache.direct`). The file's
    /// [`Geometry`](super::Geometry) says how requests must be aligned then.
    pub fn direct(mut self, direct: bool) -> Self {
        self.direct = direct;
        self
    }

    /// Lets other processes do anything to the file (`force-share`). For
    /// nodes that are read-only.
    pub fn force_share(mut self, force_share: bool) -> Self {
        self.options.force_share = force_share;
        self
    }

    /// Whether other processes are locked out.
    pub fn locking(mut self, locking: Locking) -> Self {
        self.locking = locking;
        self
    }

    /// Who carries the transfers out. With `None` each request takes the best
    /// one of the context in which it runs. [`aio`](FileOptions::aio) goes
    /// before.
    pub fn engine(mut self, engine: Option<Engine>) -> Self {
        self.how.engine = engine;
        self
    }

    /// Transfers at most so many bytes in one system call: for testing
    /// transfers that come back short.
    pub fn chunk(mut self, bytes: Option<usize>) -> Self {
        self.how.chunk = bytes;
        self
    }

    /// Who carries the transfers out, by the names of QEMU (`aio`).
    pub fn aio(mut self, aio: Aio) -> Self {
        self.aio = Some(aio);
        self
    }

    /// Opens the file and makes the node. Needs the exclusive proof because a
    /// new node enters the graph. May read the file (see
    /// [`Geometry::probe`](super::Geometry::probe)).
    ///
    /// # Errors
    /// [`GraphError::CouldNotOpen`] with the path; [`GraphError::Refused`]
    /// when it is not what the protocol is for, when the file system has no
    /// direct I/O or no locks that were asked for, and where options
    /// contradict each other; those of [`Geometry::probe`](super::Geometry::probe) and
    /// [`NodeBuilder::open`].
    pub fn open(self, bql: &mut BqlGuard, name: &str) -> Result<Node, GraphError> {
        let options = self.options;
        if options.force_share && !options.read_only {
            let message = "force-share=on can only be used with read-only images";
            return Err(refused(message.to_owned()));
        }
        let builder = NodeBuilder::new(name).options(options);
        let driver = self.open_driver(bql, builder.uid())?;
        builder.open(bql, Arc::new(driver))
    }

    /// # Errors
    /// Those of [`open`](FileOptions::open) that come before the node.
    pub(super) fn open_driver(self, bql: &BqlGuard, uid: NodeUid) -> Result<File, GraphError> {
        let FileOptions { path, direct, .. } = self;
        let mut how = self.how;
        if let Some(aio) = self.aio {
            how.engine = aio.engine(direct, bql.context())?;
        }
        let mode = Mode {
            read_only: self.options.read_only,
            auto_read_only: self.auto_read_only,
            direct,
        };
        let fd = opened::descriptor(&path, self.protocol, mode, None)?;
        let locks = self.locking.is_wanted(&fd)?;
        let locks = locks.then(|| HostLocks::new(path.display().to_string()));
        let opened = Arc::new(Opened::new(bql, fd, mode, how, locks)?);
        Ok(File {
            protocol: self.protocol,
            path,
            kind: opened.geometry.kind,
            scsi_generic: opened.geometry.scsi_generic,
            medium: opened.geometry.medium,
            how,
            durable_writes: opened.is_direct(),
            opened: GraphCell::new(uid, Arc::clone(&opened)),
            current: BqlCell::new(bql, RefCell::new(opened)),
            pending: BqlCell::new(bql, RefCell::new(Weak::new())),
            force_share: self.options.force_share,
            lost: Arc::default(),
            refused: Refused::default(),
        })
    }
}
