//! Opening the file of a node in another way.
//!
//! The file is opened a second time, for what is wanted now, and has to be the
//! same file still. The new descriptor gets the locks of the old one before
//! anything else, so at no time is the file not locked; whether other
//! processes agree to new permissions is asked through the old one, whose own
//! locks do not object to it.

use std::sync::Arc;

use block_gs::{AfterReopen, BqlGuard, GraphError, Node, PreparedReopen, ReopenCommit, ReopenTo};

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

/// The file has been opened again.
struct Reopened;

impl File {
    /// # Errors
    /// [`GraphError::CouldNotOpen`], and what else there is against opening
    /// it; [`GraphError::Refused`] when the new descriptor gets no locks.
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
        let fd = opened::descriptor(&self.path, self.protocol, mode, Some(&before))?;
        let locks = before.locks.as_ref();
        let locks = locks.map(|locks| locks.get(bql).carried_over(&fd));
        let opened = Opened::new(bql, fd, mode, self.how, locks.transpose()?)?;
        self.pending.get(bql).replace(Some(Arc::new(opened)));
        Ok(Box::new(Reopened))
    }
}

impl PreparedReopen for Reopened {
    fn commit(self: Box<Self>, reopen: &mut ReopenCommit<'_>) -> AfterReopen {
        let node = reopen.node().clone();
        let file = node.driver::<File>()?;
        let opened = file.pending.get(reopen).take()?;
        file.current.get(reopen).replace(Arc::clone(&opened));
        reopen.set(&file.opened, opened);
        None
    }

    fn abort(self: Box<Self>, bql: &BqlGuard, node: &Node) {
        if let Some(file) = node.driver::<File>() {
            file.pending.get(bql).take();
        }
    }
}
