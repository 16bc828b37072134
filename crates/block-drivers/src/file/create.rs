//! Making image files.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use block_common::role::PermPair;
use block_common::{IoError, Preallocation, limits};
use block_gs::{GraphError, Perm};
use block_io::block_ioctl;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use super::File;
use super::lock::{HostLocks, Locking};
use super::probe::Kind;
use super::space::{Progress, ResizeError, set_length};

/// What whoever makes an image does to it, and lets others do meanwhile.
const CREATING: PermPair = PermPair {
    perm: Perm::WRITE.union(Perm::RESIZE),
    shared: Perm::all().difference(Perm::RESIZE),
};

/// How to make an image file (`BlockdevCreateOptionsFile`).
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "the file is made by `create`"]
pub struct CreateOptions {
    preallocation: Preallocation,
    nocow: bool,
    extent_size_hint: u32,
    overwrite: bool,
}

impl CreateOptions {
    /// What becomes of its space (`preallocation`).
    pub fn preallocation(mut self, preallocation: Preallocation) -> Self {
        self.preallocation = preallocation;
        self
    }

    /// Asks the file system to write in place and not elsewhere (`nocow`).
    /// Only Btrfs has such files; the others ignore it, and so does this: the
    /// image is the same, only slower.
    pub fn nocow(mut self, nocow: bool) -> Self {
        self.nocow = nocow;
        self
    }

    /// Asks the file system to allocate space in pieces of so many bytes, with
    /// 0 as it likes (`extent-size-hint`). Only XFS can be asked; the others
    /// ignore it, and so does this.
    pub fn extent_size_hint(mut self, bytes: u32) -> Self {
        self.extent_size_hint = bytes;
        self
    }

    /// Whether what is at the path already is lost, instead of in the way.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Makes an image file of `size` bytes, all of them zero
    /// (`raw_co_create`). Blocks the thread: for as long as it takes to write
    /// all of it with [`Preallocation::Full`], of which `progress` tells.
    ///
    /// # Errors
    /// [`GraphError::CouldNotCreate`] with the path, also when there is
    /// something already; [`GraphError::RefusedWithHint`] when somebody uses
    /// the image; [`GraphError::Refused`] when it cannot have the size;
    /// [`GraphError::Io`] for a size that no node can have. No new file is
    /// left behind then. What was in an old one is lost, unless somebody uses
    /// it.
    pub fn create(
        self,
        path: impl AsRef<Path>,
        size: u64,
        progress: &Progress,
    ) -> Result<(), GraphError> {
        limits::check_request(0, size)?;
        let path = path.as_ref();
        let is_new = !self.overwrite || !path.exists();
        let file = self.open(path)?;
        let outcome = self.fill(path, &file, size, progress);
        if outcome.is_err() && is_new {
            // The first error says more than one about the removal.
            let _ = fs::remove_file(path);
        }
        outcome
    }

    fn open(self, path: &Path) -> Result<fs::File, GraphError> {
        let complain = |error: io::Error| could_not_create(path, error.into());
        // Opening a pipe would block.
        let other = |metadata: &fs::Metadata| !metadata.is_file() && !metadata.is_dir();
        if self.overwrite && fs::metadata(path).is_ok_and(|metadata| other(&metadata)) {
            return Err(could_not_create(path, IoError::NotSupported));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o644);
        match self.overwrite {
            true => options.create(true).truncate(false),
            false => options.create_new(true),
        };
        let file = options.open(path).map_err(complain)?;
        match Kind::of(&file).map_err(complain)? {
            Kind::Regular => Ok(file),
            _ => Err(could_not_create(path, IoError::NotSupported)),
        }
    }

    /// What is there is lost only when nobody objects to that.
    fn fill(
        self,
        path: &Path,
        file: &fs::File,
        size: u64,
        progress: &Progress,
    ) -> Result<(), GraphError> {
        let locks = Locking::Auto.is_wanted(file)?.then(|| {
            let image = path.display().to_string();
            HostLocks::new(image)
        });
        if let Some(locks) = &locks {
            locks.prepare(file.as_fd(), CREATING)?;
        }
        let outcome = self.fill_locked(file, size, progress);
        if let Some(locks) = &locks {
            // Closing the file does it too, unless a process that is being
            // started has the descriptor still.
            locks.abort(file.as_fd());
        }
        Ok(outcome?)
    }

    fn fill_locked(
        self,
        file: &fs::File,
        size: u64,
        progress: &Progress,
    ) -> Result<(), ResizeError> {
        let set = |size, preallocation| {
            set_length(file, Kind::Regular, size, true, preallocation, progress)
        };
        set(0, Preallocation::Off)?;
        if self.nocow
            && let Ok(flags) = ioctl_getflags(file)
        {
            let _ = ioctl_setflags(file, flags | IFlags::NOCOW);
        }
        if self.extent_size_hint > 0 {
            let _ = block_ioctl::set_extent_size(file, self.extent_size_hint);
        }
        set(size, self.preallocation)
    }
}

impl File {
    /// Creates an image file of `size` bytes, all of them zero and next to
    /// none of them allocated.
    ///
    /// # Errors
    /// `EEXIST` when there is something at `path` already, and those of
    /// [`CreateOptions::create`].
    pub fn create(path: impl AsRef<Path>, size: u64) -> Result<(), GraphError> {
        CreateOptions::default().create(path, size, &Progress::default())
    }

    /// As [`create`](File::create), but what a file at `path` had is lost
    /// (`bdrv_create`).
    ///
    /// # Errors
    /// Those of [`CreateOptions::create`].
    pub fn create_over(path: impl AsRef<Path>, size: u64) -> Result<(), GraphError> {
        let options = CreateOptions::default().overwrite(true);
        options.create(path, size, &Progress::default())
    }
}

fn could_not_create(path: &Path, error: IoError) -> GraphError {
    GraphError::CouldNotCreate {
        name: path.display().to_string(),
        error,
    }
}
