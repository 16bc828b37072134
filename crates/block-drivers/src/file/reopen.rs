//! Opening the file of a node in another way.
//!
//! The file is opened a second time, for what is wanted now, and has to be the
//! same file still. Whether other processes agree to new permissions is asked
//! through the old descriptor, whose own locks do not object to it; the new
//! one's would. So that has no locks until they have agreed, and then says what
//! the old one does before it takes its place: at no time is the file not
//! locked.

use std::sync::{Arc, Weak};

use block_common::error::errno;
use block_gs::{AfterReopen, BqlGuard, GraphError, PreparedReopen, ReopenCommit, ReopenTo};

use super::File;
use super::opened::{self, Mode, Opened};

/// What of a file's own options can change while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// Past the page cache of the host (`cache.direct`).
    pub direct: bool,
    /// For reading only until somebody wants to write (`auto-read-only`).
    pub auto_read_only: bool,
}

/// The file has been opened again. This alone keeps what it is open by, so
/// that is gone with it.
struct Reopened(Arc<Opened>);

impl File {
    /// # Errors
    /// [`GraphError::CouldNotOpen`], and what else there is against opening
    /// it; [`GraphError::Refused`] with `EBUSY` while somebody else does it.
    pub(super) fn open_again(
        &self,
        bql: &BqlGuard,
        to: &ReopenTo<'_>,
    ) -> Result<Box<dyn PreparedReopen>, GraphError> {
        let before = self.current(bql);
        let mut mode = Mode {
            read_only: to.options().read_only,
            ..before.mode
        };
        if let Some(settings) = to.settings::<FileSettings>()? {
            mode.direct = settings.direct;
            mode.auto_read_only = settings.auto_read_only;
        }
        if mode == before.mode {
            return Ok(Box::new(()));
        }
        // What others have been told is for that one.
        if self.pending(bql).is_some() {
            return Err(GraphError::Refused {
                message: format!("'{}' is being reopened", self.path.display()),
                errno: errno::EBUSY,
            });
        }
        let fd = opened::descriptor(&self.path, self.protocol, mode, Some(&before))?;
        let locks = before.locks.as_ref();
        let locks = locks.map(|locks| locks.get(bql).silent());
        let opened = Arc::new(Opened::new(bql, fd, mode, self.how, locks)?);
        self.pending.get(bql).replace(Arc::downgrade(&opened));
        Ok(Box::new(Reopened(opened)))
    }
}

impl PreparedReopen for Reopened {
    fn commit(self: Box<Self>, reopen: &mut ReopenCommit<'_>) -> AfterReopen {
        let node = reopen.node().clone();
        let file = node.driver::<File>()?;
        let opened = self.0;
        file.pending.get(reopen).replace(Weak::new());
        let before = file.current.get(reopen).replace(Arc::clone(&opened));
        opened.succeed(reopen, &before);
        reopen.set(&file.opened, opened);
        None
    }
}
