//! `file`: regular files and block devices of the host.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use block_common::error::errno;
use block_common::limits;
use block_common::role::PermPair;
use block_gs::{BlockDriver, BqlGuard, GraphError, Node, NodeBuilder, Perm};
use block_io::aio::Engine;
use block_io::file::{FileIo, Inline};
use block_io::{
    Capabilities, Destination, DriverIo, IoError, IoFuture, Request, Source, WriteFlags,
};
use rustix::fs::SeekFrom;

/// A file or block device of the host (`file-posix.c`, drivers `file` and
/// `host_device`).
///
/// A protocol driver: it has no children. The file is opened once, for
/// writing too unless the node is read-only; nothing here changes while the
/// node exists, so both halves read it without any proof.
///
/// Other processes are not locked out (QEMU locks byte ranges of the file).
#[derive(Debug)]
pub struct File {
    io: FileIo,
    fd_is_writable: bool,
}

impl File {
    /// A node of the file at `path`, to be opened.
    #[expect(
        clippy::new_ret_no_self,
        reason = "a driver is of use inside a node only"
    )]
    pub fn new(path: impl Into<PathBuf>) -> FileOptions {
        FileOptions {
            path: path.into(),
            read_only: false,
            engine: None,
        }
    }

    /// Creates an image file of `size` bytes, all of them a hole.
    ///
    /// # Errors
    /// `EEXIST` when there is something at `path` already,
    /// [`IoError::OutOfRange`] for a size that no node can have, otherwise
    /// the kernel's; no new file is left behind then.
    pub fn create(path: impl AsRef<Path>, size: u64) -> Result<(), IoError> {
        limits::check_request(0, size)?;
        let path = path.as_ref();
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        if let Err(error) = file.set_len(size) {
            // The first error says more than one about the removal.
            let _ = fs::remove_file(path);
            return Err(error.into());
        }
        Ok(())
    }

    /// As [`create`](File::create), but what a file at `path` had is lost
    /// (`bdrv_create`).
    ///
    /// # Errors
    /// [`IoError::OutOfRange`], otherwise the kernel's.
    pub fn create_over(path: impl AsRef<Path>, size: u64) -> Result<(), IoError> {
        limits::check_request(0, size)?;
        let file = fs::File::create(path)?;
        Ok(file.set_len(size)?)
    }
}

/// How to open a [`File`].
#[derive(Clone, Debug)]
#[must_use = "the node is made by `open`"]
pub struct FileOptions {
    path: PathBuf,
    read_only: bool,
    engine: Option<Engine>,
}

impl FileOptions {
    /// Opens the file for reading only.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Who carries the transfers out (`aio`). With `None` each request takes
    /// the best one of the context in which it runs.
    pub fn engine(mut self, engine: Option<Engine>) -> Self {
        self.engine = engine;
        self
    }

    /// Opens the file and makes the node. Needs the exclusive proof because a
    /// new node enters the graph.
    ///
    /// # Errors
    /// [`GraphError::CouldNotOpen`] with the path; [`GraphError::Refused`]
    /// when it is neither a regular file nor a block device; those of
    /// [`NodeBuilder::open`].
    pub fn open(self, bql: &mut BqlGuard, name: &str) -> Result<Node, GraphError> {
        let FileOptions {
            path,
            read_only,
            engine,
        } = self;
        check_kind(&path)?;
        let file = OpenOptions::new()
            .read(true)
            .write(!read_only)
            .open(&path)
            .map_err(|error| could_not_open(&path, error))?;
        let driver = File {
            io: FileIo::new(Arc::new(file.into()))
                .engine(engine)
                .inline(Inline::NoWait),
            fd_is_writable: !read_only,
        };
        NodeBuilder::new(name)
            .read_only(read_only)
            .open(bql, Arc::new(driver))
    }
}

/// Looks before the file is opened: opening a pipe would block, and opening a
/// character device can have effects.
fn check_kind(path: &Path) -> Result<(), GraphError> {
    let metadata = fs::metadata(path).map_err(|error| could_not_open(path, error))?;
    let kind = metadata.file_type();
    if kind.is_file() || kind.is_block_device() {
        return Ok(());
    }
    Err(GraphError::Refused {
        message: format!(
            "'file' driver requires '{}' to be a regular file",
            path.display()
        ),
        errno: errno::EINVAL,
    })
}

fn could_not_open(path: &Path, error: io::Error) -> GraphError {
    GraphError::CouldNotOpen {
        name: path.display().to_string(),
        error: error.into(),
    }
}

impl DriverIo for File {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            write_flags: WriteFlags::FUA,
            flushes_to_disk: true,
            variable_length: true,
            ..Capabilities::default()
        }
    }

    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        self.io.read(request, offset, into)
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let durable = flags.contains(WriteFlags::FUA);
        self.io.write(request, offset, from, durable)
    }

    fn flush_to_disk<'r>(&'r self, request: Request<'r>) -> IoFuture<'r> {
        self.io.sync(request, true)
    }

    /// Where the end is, for devices too. Transfers say where they go, so
    /// moving the file's own position disturbs none.
    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        let end = rustix::fs::seek(self.io.fd().as_fd(), SeekFrom::End(0));
        IoFuture::ready(end.map_err(|error| io::Error::from(error).into()))
    }
}

impl BlockDriver for File {
    fn format_name(&self) -> &'static str {
        "file"
    }

    /// A descriptor that was opened for reading cannot grant writes, whatever
    /// the node has become since.
    fn check_perm(&self, _bql: &BqlGuard, asked: PermPair) -> Result<(), GraphError> {
        if !self.fd_is_writable && asked.perm.intersects(Perm::WRITES | Perm::RESIZE) {
            return Err(GraphError::ReadOnly);
        }
        Ok(())
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
        let file = fs::File::open(&path).expect("opened");
        let mut driver = File {
            io: FileIo::new(Arc::new(file.into())),
            fd_is_writable: false,
        };
        let asked = |perm| PermPair {
            perm,
            shared: Perm::all(),
        };
        let layer = BlockLayer::new().expect("a block layer");
        layer.enter(|bql| {
            for perm in [Perm::WRITE, Perm::WRITE_UNCHANGED, Perm::RESIZE] {
                let refused = driver.check_perm(bql, asked(perm));
                assert!(matches!(refused, Err(GraphError::ReadOnly)), "{perm}");
            }
            let reader = driver.check_perm(bql, asked(Perm::CONSISTENT_READ));
            reader.expect("reading is fine");
            driver.fd_is_writable = true;
            let writer = driver.check_perm(bql, asked(Perm::all()));
            writer.expect("now it is writable");
        });
    }
}
