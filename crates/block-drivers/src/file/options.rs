//! How a file is to be opened, and the node made of it.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use block_gs::{BqlCell, BqlGuard, GraphError, Node, NodeBuilder, NodeOptions};
use block_io::aio::Engine;

use super::lock::{HostLocks, Locking};
use super::open::{self, Access, Aio, Protocol, refused};
use super::probe::Geometry;
use super::requests::{self, How, Refused};
use super::{File, Writing};

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

    /// Sets what any node can be told.
    pub fn options(mut self, options: NodeOptions) -> Self {
        self.options = options;
        self
    }

    /// Opens the file for reading only.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.options.read_only = read_only;
        self
    }

    /// Opens the file for reading only until somebody wants to write
    /// (`auto-read-only`). If it cannot be written, then they are refused and
    /// the node is not. Without effect on a node that is read-only.
    pub fn auto_read_only(mut self, auto_read_only: bool) -> Self {
        self.auto_read_only = auto_read_only;
        self
    }

    /// Goes past the page cache (`cache.direct`). The file's
    /// [`Geometry`] says how requests must be aligned then.
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
    /// [`Geometry::probe`]).
    ///
    /// # Errors
    /// [`GraphError::CouldNotOpen`] with the path; [`GraphError::Refused`]
    /// when it is not what the protocol is for, when the file system has no
    /// direct I/O or no locks that were asked for, and where options
    /// contradict each other; those of [`Geometry::probe`] and
    /// [`NodeBuilder::open`].
    pub fn open(self, bql: &mut BqlGuard, name: &str) -> Result<Node, GraphError> {
        let options = self.options;
        if options.force_share && !options.read_only {
            let message = "force-share=on can only be used with read-only images";
            return Err(refused(message.to_owned()));
        }
        let driver = self.open_driver(bql)?;
        NodeBuilder::new(name)
            .options(options)
            .open(bql, Arc::new(driver))
    }

    /// # Errors
    /// Those of [`open`](FileOptions::open) that come before the node.
    pub(super) fn open_driver(self, bql: &BqlGuard) -> Result<File, GraphError> {
        let FileOptions { path, direct, .. } = self;
        let mut how = self.how;
        if let Some(aio) = self.aio {
            how.engine = aio.engine(direct, bql.context())?;
        }
        let access = Access {
            write: !self.options.read_only && !self.auto_read_only,
            direct,
        };
        let fd = open::open(&path, self.protocol, access)?;
        let geometry = Geometry::probe(&fd, direct)?;
        let name = path.clone();
        let locks = self.locking.is_wanted(&fd)?.then(|| {
            let locks = HostLocks::new(path.display().to_string());
            BqlCell::new(bql, locks)
        });
        let writing = if access.write {
            Writing::Always
        } else if self.options.read_only {
            Writing::Never
        } else {
            Writing::OnDemand {
                path,
                direct,
                io: OnceLock::new(),
                how,
                prepared: BqlCell::new(bql, Cell::new(None)),
            }
        };
        Ok(File {
            protocol: self.protocol,
            path: name,
            io: requests::file_io(fd, &geometry, how),
            geometry,
            writing,
            force_share: self.options.force_share,
            locks,
            lost: Arc::default(),
            refused: Refused::default(),
        })
    }
}
