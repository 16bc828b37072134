//! Other options for an image in use.

use block_common::error::errno;
use block_gs::{AfterReopen, Drained, GraphError, PreparedReopen, ReopenCommit, ReopenTo};
use block_io::Request;

use crate::commit::Goal;
use crate::driver::Qcow2;
use crate::format::FormatError;
use crate::format::header::{Compatible, Incompatible};
use crate::open::become_writable;
use crate::options::{Qcow2Options, Settings};

/// What takes effect when the reopen does. The sizes of the caches are those
/// of the image's opening; others are checked and count when it is next
/// opened.
struct Prepared {
    options: Option<Qcow2Options>,
    settings: Settings,
    access: Access,
}

/// What becomes of the right to write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Stays,
    Gained,
    Lost,
}

impl Qcow2 {
    pub(crate) fn prepare(
        &self,
        section: &mut Drained<'_>,
        to: &ReopenTo<'_>,
    ) -> Result<Box<dyn PreparedReopen>, GraphError> {
        let image = &self.image;
        let options = to.settings::<Qcow2Options>()?.cloned();
        let was_writable = !to.before().read_only;
        let will_write = !to.options().read_only;
        let (lazy, corrupt) = {
            let header = &image.lock().header;
            (
                header.compatible.contains(Compatible::LAZY_REFCOUNTS),
                header.incompatible.contains(Incompatible::CORRUPT),
            )
        };
        if corrupt && will_write && !was_writable {
            return Err(FormatError::Corrupt.into());
        }
        let told = options
            .clone()
            .unwrap_or_else(|| self.options.lock().clone());
        let unmap = to.options().unmap;
        let settings = told.settle(&image.geometry_now(), image.size(), unmap, lazy)?;
        let access = match (was_writable, will_write) {
            (true, false) => Access::Lost,
            (false, true) => Access::Gained,
            _ => Access::Stays,
        };
        // Another process has the image while the node is inactive.
        let is_active = section.node().view(section).is_writable();
        if is_active && access == Access::Lost {
            section.store_bitmaps().map_err(|error| refused(&error))?;
        }
        let was_lazy = image.settings.lock().lazy_refcounts;
        if is_active && (access == Access::Lost || (was_lazy && !settings.lazy_refcounts)) {
            let clean = async |request: Request<'_>| image.mark_clean(request).await;
            let cleaned = section.io(clean);
            cleaned.map_err(|error| match access {
                Access::Lost => GraphError::Io(error),
                _ => refused(&format!("Failed to disable lazy refcounts: {error}")),
            })?;
        } else if is_active {
            let store = async |request: Request<'_>| image.commit(request, Goal::Durable).await;
            section.io(store)?;
        }
        Ok(Box::new(Prepared {
            options,
            settings,
            access,
        }))
    }
}

fn refused(error: &impl ToString) -> GraphError {
    GraphError::Refused {
        message: error.to_string(),
        errno: errno::EINVAL,
    }
}

impl PreparedReopen for Prepared {
    fn commit(self: Box<Self>, reopen: &mut ReopenCommit<'_>) -> AfterReopen {
        if let Some(driver) = reopen.node().driver::<Qcow2>() {
            *driver.image.settings.lock() = self.settings;
            driver.image.note_metadata();
            if let Some(options) = self.options {
                *driver.options.lock() = options;
            }
        }
        match self.access {
            Access::Stays => None,
            Access::Lost => Some(Box::new(|section| {
                section.set_stored_bitmaps_read_only(true);
            })),
            Access::Gained => Some(Box::new(|section| {
                // The node is writable; a write will say what is wrong.
                let _ = become_writable(section);
            })),
        }
    }
}
