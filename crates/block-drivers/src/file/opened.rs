//! A file as it is open now. Opening it in another way makes another one.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use block_common::GraphError;
use block_common::role::PermPair;
use block_gs::{BqlCell, BqlGuard, Perm};
use block_io::file::FileIo;

use super::lock::HostLocks;
use super::open::{self, Access, Protocol};
use super::probe::Geometry;
use super::requests::{self, How};

/// What a node needs that may change the file.
const CHANGES: Perm = Perm::WRITES.union(Perm::RESIZE);

/// How a file is to be open, as far as that can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mode {
    pub(super) read_only: bool,
    /// For reading only until somebody wants to write.
    pub(super) auto_read_only: bool,
    /// Past the page cache.
    pub(super) direct: bool,
}

impl Mode {
    fn access(self) -> Access {
        Access {
            write: !self.read_only && !self.auto_read_only,
            direct: self.direct,
        }
    }
}

/// What the file is open by.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) mode: Mode,
    /// For requests, unless there is one for writing.
    first: FileIo,
    pub(super) geometry: Geometry,
    writing: Writing,
    /// Those of the first descriptor.
    pub(super) locks: Option<BqlCell<HostLocks>>,
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
        io: OnceLock<FileIo>,
        how: How,
        /// Opened for a writer who has not got the permission yet.
        prepared: BqlCell<Cell<Option<OwnedFd>>>,
    },
}

/// Opens what is at `path`; if it was open `before`, then only the same
/// again.
///
/// # Errors
/// Those of [`open::open`] and [`open::open_again`].
pub(super) fn descriptor(
    path: &Path,
    protocol: Protocol,
    mode: Mode,
    before: Option<&Opened>,
) -> Result<OwnedFd, GraphError> {
    match before {
        None => open::open(path, protocol, mode.access()),
        Some(before) => open::open_again(path, protocol, mode.access(), before.first.fd()),
    }
}

impl Opened {
    /// # Errors
    /// Those of [`Geometry::probe`].
    pub(super) fn new(
        bql: &BqlGuard,
        fd: OwnedFd,
        mode: Mode,
        how: How,
        locks: Option<HostLocks>,
    ) -> Result<Opened, GraphError> {
        let geometry = Geometry::probe(&fd, mode.direct)?;
        let writing = if mode.access().write {
            Writing::Always
        } else if mode.read_only {
            Writing::Never
        } else {
            Writing::OnDemand {
                io: OnceLock::new(),
                how,
                prepared: BqlCell::new(bql, Cell::new(None)),
            }
        };
        Ok(Opened {
            mode,
            first: requests::file_io(fd, &geometry, how),
            geometry,
            writing,
            locks: locks.map(|locks| BqlCell::new(bql, locks)),
        })
    }

    /// The descriptor for requests.
    pub(super) fn io(&self) -> &FileIo {
        match &self.writing {
            Writing::OnDemand { io, .. } => io.get().unwrap_or(&self.first),
            Writing::Never | Writing::Always => &self.first,
        }
    }

    /// The descriptor that has the locks.
    pub(super) fn locked(&self) -> BorrowedFd<'_> {
        self.first.fd().as_fd()
    }

    /// Whether transfers go past the page cache.
    pub(super) fn is_direct(&self) -> bool {
        requests::is_direct(&self.geometry)
    }

    /// Opens the file for writing if that is called for, and not yet so.
    pub(super) fn prepare_writing(
        &self,
        bql: &BqlGuard,
        path: &Path,
        protocol: Protocol,
        perm: Perm,
    ) -> Result<(), GraphError> {
        if !perm.intersects(CHANGES) {
            return Ok(());
        }
        match &self.writing {
            Writing::Always => Ok(()),
            Writing::Never => Err(GraphError::ReadOnly),
            Writing::OnDemand { io, prepared, .. } => {
                if io.get().is_none() {
                    let access = Access {
                        write: true,
                        direct: self.mode.direct,
                    };
                    let opened = open::open_again(path, protocol, access, self.first.fd())?;
                    prepared.get(bql).set(Some(opened));
                }
                Ok(())
            }
        }
    }

    /// The writer has got the permission, and everybody what `granted` says.
    pub(super) fn grant(&self, bql: &BqlGuard, granted: PermPair) {
        if let Writing::OnDemand { io, how, prepared } = &self.writing
            && let Some(opened) = prepared.get(bql).take()
        {
            io.get_or_init(|| requests::file_io(opened, &self.geometry, *how));
        }
        if let Some(locks) = &self.locks {
            locks.get(bql).commit(self.locked(), granted);
        }
    }

    /// Other processes hear nothing from this one: another one speaks.
    pub(super) fn fall_silent(&self, bql: &BqlGuard) {
        if let Some(locks) = &self.locks {
            locks.get(bql).fall_silent(self.locked());
        }
    }

    /// Other processes hear from this one what they have heard from `before`,
    /// and what is `asked`.
    ///
    /// # Errors
    /// Those of [`HostLocks::say`].
    pub(super) fn say(
        &self,
        bql: &BqlGuard,
        before: &Opened,
        asked: PermPair,
    ) -> Result<(), GraphError> {
        match (&self.locks, &before.locks) {
            (Some(locks), Some(before)) => {
                let locks = locks.get(bql);
                locks.say(self.locked(), before.get(bql), asked)
            }
            _ => Ok(()),
        }
    }

    /// It is what the file is open by, in the place of `before`.
    pub(super) fn succeed(&self, bql: &BqlGuard, before: &Opened) {
        if let (Some(locks), Some(old)) = (&self.locks, &before.locks) {
            let locks = locks.get(bql);
            locks.succeed(self.locked(), old.get(bql), before.locked());
        }
    }

    /// Nobody has got what was asked.
    pub(super) fn abort(&self, bql: &BqlGuard) {
        if let Writing::OnDemand { prepared, .. } = &self.writing {
            prepared.get(bql).set(None);
        }
        if let Some(locks) = &self.locks {
            locks.get(bql).abort(self.locked());
        }
    }
}
