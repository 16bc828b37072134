//! Other options for an image in use.

use block_common::error::errno;
use block_gs::{AfterReopen, Drained, GraphError, PreparedReopen, ReopenCommit, ReopenTo};
use block_io::Request;

use crate::clean::Caches;
use crate::commit::Goal;
use crate::driver::Qcow2;
use crate::format::FormatError;
use crate::format::header::{Compatible, Incompatible};
use crate::open::become_writable;
use crate::options::{Qcow2Options, Settings};

/// What takes effect when the reopen does.
struct Prepared {
    options: Option<Qcow2Options>,
    settings: Settings,
    /// Other ones than the image has.
    caches: Option<Caches>,
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
        let caches = section.io(async |request: Request<'_>| {
            Caches::unless_there(image, request, &settings).await
        })?;
        Ok(Box::new(Prepared {
            options,
            settings,
            access,
            caches,
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
        let node = reopen.node().clone();
        let driver = node.driver::<Qcow2>()?;
        let image = &driver.image;
        // Everything was stored; should another node's reopen have changed
        // something since, it is stored first.
        let replaced = self.caches.map(|caches| caches.commit(image, reopen));
        let left = replaced.and_then(Result::err);
        image.lock().refs.set_capacity(self.settings.blocks);
        let interval = self.settings.clean_interval;
        let before = std::mem::replace(&mut *image.settings.lock(), self.settings);
        if let Some(options) = self.options {
            *driver.options.lock() = options;
        }
        if before.clean_interval != interval {
            driver.start_cleaning(reopen, &node);
        }
        driver.image.note_metadata();
        let access = self.access;
        if access == Access::Stays && left.is_none() {
            return None;
        }
        Some(Box::new(move |section| {
            let node = section.node().clone();
            if let Some(caches) = left
                && let Some(driver) = node.driver::<Qcow2>()
            {
                // Those that are there do as well.
                let _ = caches.store_and_replace(&driver.image, section);
            }
            match access {
                Access::Stays => {}
                Access::Lost => section.set_stored_bitmaps_read_only(true),
                // Another process has the image; what follows does so when the
                // node is activated.
                Access::Gained if !node.view(section).is_writable() => {}
                // The node is writable; a write will say what is wrong.
                Access::Gained => {
                    let _ = become_writable(section);
                }
            }
        }))
    }
}
