//! What is done to an image as a whole: emptied, given another backing image,
//! handed over.

use std::sync::atomic::Ordering;

use block_common::error::errno;
use block_io::{BackingName, Destination, IoError, Request, Source};

use crate::commit::Goal;
use crate::format::FormatError;
use crate::format::header::{Compatible, Incompatible, MAX_BACKING_NAME};
use crate::geometry::Geometry;
use crate::image::{Image, Standing};
use crate::open::{Stored, Strictness, without_advice};
use crate::steps::step;
use crate::switch::Extent;

/// Why an image is read again, which says what of it stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reload {
    /// Somebody else has had it: all that was known of it goes. `lazy` is what
    /// a user has said of lazy counts.
    Foreign { lazy: Option<bool> },
    /// This node has repaired it in the file: settings, bitmaps, and what was
    /// found out to keep it from being written stay.
    Repaired,
}

impl Image {
    /// Gives up everything that the image has on top of its backing image.
    pub async fn make_empty(&self, request: Request<'_>) -> Result<(), IoError> {
        self.get_ready(request).await?;
        for event in ["l1_update", "empty_image_prepare", "reftable_update"] {
            step(request, event).await;
        }
        // It is what an external snapshot leaves behind.
        let discard = self.settings.lock().pass_discard_snapshot;
        self.forget_behind(request, 0, discard).await?;
        self.drop_tables(request, 0, discard);
        self.commit(request, Goal::Durable).await
    }

    /// Lets the header name another backing image, or none.
    pub async fn change_backing_file(
        &self,
        request: Request<'_>,
        to: Option<BackingName<'_>>,
    ) -> Result<(), IoError> {
        self.check_sane()?;
        let _turn = self.commits.enter(0..1, true).await;
        let (file, format) = match to {
            None => (None, None),
            Some(name) => (Some(name.file), name.format),
        };
        let too_long = |name: &str| name.len() > MAX_BACKING_NAME;
        if file.is_some_and(too_long) || format.is_some_and(|name| name.len() > 15) {
            return Err(FormatError::BackingName.into());
        }
        let is_raw = self.lock().header.has_raw_data();
        if is_raw && file.is_some() {
            return Err(IoError::from_errno(errno::EINVAL));
        }
        // What covers the old one is stored before it is forgotten.
        self.commit_now(request, Goal::Durable).await?;
        self.switch_header(request, Extent::Whole, Vec::new(), |header| {
            header.backing_file = file.map(str::to_owned);
            header.backing_format = format.map(str::to_owned);
        })
        .await
    }

    /// Forgets what was read, and reads it again. Nothing is in flight.
    pub async fn reload(&self, request: Request<'_>, why: Reload) -> Result<(), IoError> {
        let strictness = match why {
            Reload::Foreign { .. } => Strictness::Usable,
            Reload::Repaired => Strictness::Checkable,
        };
        let stored = Stored::read(request.file()?, strictness).await;
        let stored = stored.map_err(without_advice)?;
        if !self.geometry.is_like(&Geometry::of(&stored.header)) {
            let text = "The image is another one than before";
            return Err(IoError::refused(errno::EINVAL, text));
        }
        let corrupt = stored.header.incompatible.contains(Incompatible::CORRUPT);
        let is_to_be_used = why != Reload::Repaired;
        if corrupt && is_to_be_used && request.node().is_writable() {
            return Err(FormatError::Corrupt.into());
        }
        self.forget(request);
        if let Reload::Foreign { lazy } = why {
            let says = stored.header.compatible;
            let says = says.contains(Compatible::LAZY_REFCOUNTS);
            self.settings.lock().lazy_refcounts = lazy.unwrap_or(says);
            // They are found when the node gets them.
            self.lock().bitmaps.clear();
            self.standing.forget(u8::MAX);
        }
        self.take_over(stored);
        self.standing.forget(Standing::STALE);
        *self.preallocated.lock() = None;
        let is_old = self.lock().header.version < 3;
        self.without_zeroes.store(is_old, Ordering::Release);
        self.note_metadata();
        Ok(())
    }

    fn take_over(&self, stored: Stored) {
        let state = &mut *self.lock();
        let entries = (state.header.l1_size as usize).max(stored.l1.len());
        for index in 0..entries {
            let entry = stored.l1.get(index).copied().unwrap_or(0);
            self.l1.set(index as u64, entry);
        }
        let first = stored.header.refcount_table_offset >> self.geometry.cluster_bits;
        let table = first..first + u64::from(stored.header.refcount_table_clusters);
        let counts = Geometry::of(&stored.header).counts;
        state.refs.set_counts(counts);
        state.refs.reload(stored.table, table, stored.file_length);
        state.snapshots = stored.snapshots;
        state.snapshot_bytes = stored.snapshot_bytes;
        state.is_behind = false;
        self.size.store(stored.header.size, Ordering::Release);
        state.header = stored.header;
    }

    /// Writes a piece of the state of a virtual machine.
    pub async fn save_vmstate(
        &self,
        request: Request<'_>,
        position: u64,
        from: Source<'_>,
    ) -> Result<(), IoError> {
        self.check_sane()?;
        let _here = self.grace.enter();
        step(request, "vmstate_save").await;
        let offset = self.vm_state_at(position, from.len() as u64)?;
        let entries = self.geometry.l1_entries(offset + from.len() as u64);
        self.grow_l1(request, entries).await?;
        self.write_runs(request, offset, from).await
    }

    /// Reads a piece of it.
    pub async fn load_vmstate(
        &self,
        request: Request<'_>,
        position: u64,
        into: Destination<'_>,
    ) -> Result<(), IoError> {
        let _here = self.grace.enter();
        step(request, "vmstate_load").await;
        let offset = self.vm_state_at(position, into.len() as u64)?;
        self.read_here(request, offset, into).await
    }

    fn vm_state_at(&self, position: u64, bytes: u64) -> Result<u64, IoError> {
        let offset = self.vm_state_offset().checked_add(position);
        let end = offset.and_then(|offset| offset.checked_add(bytes));
        match (offset, end) {
            (Some(offset), Some(end)) if end <= block_common::limits::MAX_LENGTH => Ok(offset),
            _ => Err(IoError::from_errno(27)),
        }
    }
}
