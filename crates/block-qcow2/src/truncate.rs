//! Changing the length of an image.

use std::sync::atomic::Ordering;

use block_common::error::errno;
use block_io::{Buffer, IoError, Preallocation, Request, Truncation, WriteFlags};

use crate::commit::Goal;
use crate::format::Limits;
use crate::format::entry::{ALL_ZERO, COPIED, Entry, OFFSET, ZERO};
use crate::image::Image;
use crate::steps::step;
use crate::switch::Extent;
use crate::zero::Become;

fn in_words(what: &'static str, error: &IoError) -> IoError {
    IoError::refused(error.errno(), format!("{what}: {error}"))
}

/// How much is preallocated at once, in bytes.
const STEP: u64 = 64 << 20;

impl Image {
    /// Changes what the guest sees to `to.length` bytes. No request is beyond
    /// the lesser length.
    ///
    /// # Errors
    /// In QEMU's words where something cannot be.
    pub async fn truncate(&self, request: Request<'_>, to: Truncation) -> Result<(), IoError> {
        self.get_ready(request).await?;
        let old = self.size();
        let new = to.length;
        let refuse = |errno, message| Err(IoError::refused(errno, message));
        if !new.is_multiple_of(512) {
            return refuse(errno::EINVAL, "The new size must be a multiple of 512");
        }
        let has_snapshots = !self.lock().snapshots.is_empty();
        let is_old = self.lock().header.version < 3;
        if has_snapshots && is_old {
            return refuse(
                errno::ENOTSUP,
                "Can't resize a v2 image which has snapshots",
            );
        }
        self.check_bitmaps()?;
        if new < old {
            if to.preallocation != Preallocation::Off {
                return refuse(
                    errno::EINVAL,
                    "Preallocation can't be used for shrinking an image",
                );
            }
            return self.shrink(request, old, new).await;
        }
        if to.zeroes && is_old {
            return refuse(
                errno::ENOTSUP,
                "Failed to zero out new clusters: Operation not supported",
            );
        }
        self.grow(request, old, to).await
    }

    /// Refuses to change the length while a bitmap is there of which nobody
    /// knows what it says (`qcow2_truncate_bitmaps_check`).
    fn check_bitmaps(&self) -> Result<(), IoError> {
        let state = self.lock();
        let is_there = |name: &&String| state.bitmaps.iter().any(|bitmap| bitmap.name == **name);
        match state.inconsistent.iter().find(is_there) {
            None => Ok(()),
            Some(name) => Err(IoError::refused(
                errno::EINVAL,
                format!("Bitmap '{name}' is inconsistent and cannot be used"),
            )),
        }
    }

    async fn shrink(&self, request: Request<'_>, old: u64, new: u64) -> Result<(), IoError> {
        let size = self.geometry.cluster_size();
        let edge = new.next_multiple_of(size);
        // What is left of the last cluster must not come back. Its subclusters
        // need not be alike.
        let (mut at, end) = (new, edge.min(old));
        while at < end {
            let run = self.map(request, at, end - at).await?;
            if !run.kind.is_zero() && !run.kind.is_unallocated() {
                let zeroes = Buffer::zeroed(run.bytes as usize);
                let _here = self.grace.enter();
                self.write_runs(request, at, zeroes.source()).await?;
            }
            at += run.bytes;
        }
        let end = old.next_multiple_of(size);
        if edge < end {
            // Whoever cuts it off wants the space.
            self.convert(request, edge..end, Become::Nothing, true)
                .await?;
        }
        self.drop_tables(request, self.geometry.l1_entries(new), true);
        self.set_size(request, new).await?;
        if !self.geometry.keeps_data {
            let data = request.child("data-file")?;
            if data.node().is_writable() && self.lock().header.has_raw_data() {
                data.truncate(new, false, Preallocation::Off).await?;
            }
        }
        Ok(())
    }

    /// Gives up second-level tables from `first` on; they describe nothing.
    pub fn drop_tables(&self, request: Request<'_>, first: u64, discard: bool) {
        let slices = self.slices.get(request);
        let state = &mut *self.lock();
        let last = u64::from(state.header.l1_size);
        for index in first..last {
            let entry = self.l1.get(index);
            if entry & OFFSET == 0 {
                continue;
            }
            let per_table = 1u64 << (self.geometry.l2_bits - self.slice_bits(request));
            for key in index * per_table..(index + 1) * per_table {
                if let Some(place) = slices.find(key) {
                    state.places[place].dirty = Default::default();
                    slices.clear(place);
                }
            }
            self.l1.set(index, 0);
            state.l1_dirty.insert(index);
            let cluster = (entry & OFFSET) >> self.geometry.cluster_bits;
            state.free(cluster..cluster + 1, discard);
        }
    }

    async fn grow(&self, request: Request<'_>, old: u64, to: Truncation) -> Result<(), IoError> {
        let new = to.length;
        let entries = self.geometry.l1_entries(new);
        let grown = self.grow_l1(request, entries).await;
        grown.map_err(|error| in_words("Failed to grow the L1 table", &error))?;
        if !self.geometry.keeps_data && self.lock().header.has_raw_data() {
            let below = match to.preallocation {
                Preallocation::Metadata => Preallocation::Off,
                other => other,
            };
            let data = request.child("data-file")?;
            data.truncate(new, false, below).await?;
        }
        if to.zeroes {
            let unit = self.geometry.subcluster_size();
            let edge = old.next_multiple_of(unit).min(new);
            // Where a part of a unit is old, the rest of it is written. The
            // image need not show it yet.
            let zeroes = Buffer::zeroed((edge - old) as usize);
            let _here = self.grace.enter();
            self.write_runs(request, old, zeroes.source()).await?;
            let end = new.next_multiple_of(unit);
            if edge < end {
                self.convert(request, edge..end, Become::Zero, false)
                    .await?;
            }
        }
        let is_raw = self.lock().header.has_raw_data();
        let how = match to.preallocation {
            // What is in a raw image is where the guest has it.
            Preallocation::Off if is_raw && !to.zeroes => Preallocation::Metadata,
            how => how,
        };
        if how != Preallocation::Off {
            self.preallocate(request, old, new, how).await?;
        }
        self.set_size(request, new).await
    }

    /// Stores everything, and then the new size.
    async fn set_size(&self, request: Request<'_>, size: u64) -> Result<(), IoError> {
        let _turn = self.commits.enter(0..1, true).await;
        self.commit_now(request, Goal::Durable).await?;
        let resized = self.switch_header(request, Extent::Fields, Vec::new(), |header| {
            header.size = size;
        });
        resized
            .await
            .map_err(|error| in_words("Failed to update the image size", &error))?;
        self.size.store(size, Ordering::Release);
        Ok(())
    }

    /// Makes room for `entries` entries in the first-level table.
    pub async fn grow_l1(&self, request: Request<'_>, entries: u64) -> Result<(), IoError> {
        if entries <= u64::from(self.lock().header.l1_size) {
            return Ok(());
        }
        if entries * 8 > Limits::L1_BYTES {
            return Err(IoError::from_errno(27));
        }
        self.commit(request, Goal::Durable).await?;
        let bits = self.geometry.cluster_bits;
        step(request, "l1_grow_alloc_table").await;
        let claimed = self
            .claim(request, self.geometry.clusters_of(entries * 8), true)
            .await?;
        let _turn = self.commits.enter(0..1, true).await;
        // The counts of the new place come before the header that needs them.
        self.commit_now(request, Goal::Durable).await?;
        let (at, length) = {
            let header = &self.lock().header;
            (header.l1_offset, u64::from(header.l1_size))
        };
        if entries <= length {
            // Somebody else was faster, and needs it to be longer.
            return Ok(());
        }
        // What is there now, and not what is only in memory: that refers to
        // what may not be counted yet, and is stored later.
        let file = request.file()?;
        let mut table = Buffer::zeroed((claimed.count() << bits) as usize);
        let (into, _) = table.destination().split_at(length as usize * 8);
        file.read(at, into).await?;
        let old = (at, length as u32);
        step(request, "l1_grow_write_table").await;
        file.write(claimed.offset(), table.source()).await?;
        file.flush().await?;
        step(request, "l1_grow_activate_table").await;
        let moved = (claimed.offset(), entries as u32);
        self.switch_header(request, Extent::Fields, vec![claimed], |header| {
            (header.l1_offset, header.l1_size) = moved;
        })
        .await?;
        self.note_metadata();
        let first = old.0 >> bits;
        let clusters = self.geometry.clusters_of(u64::from(old.1) * 8);
        let discard = self.settings.lock().pass_discard_other;
        self.lock().release(first..first + clusters, discard);
        Ok(())
    }

    /// Gives clusters to what has none between two offsets of the guest.
    pub async fn preallocate(
        &self,
        request: Request<'_>,
        from: u64,
        to: u64,
        how: Preallocation,
    ) -> Result<(), IoError> {
        let _here = self.grace.enter();
        let bits = self.geometry.cluster_bits;
        let mut at = from;
        while at < to {
            let most = self.to_slice_end(request, at).min(to - at).min(STEP);
            let around = self.clusters_around(&(at..at + most));
            let _turn = self.turns.enter(around.clone(), true).await;
            self.own_table(request, self.geometry.l1_index(at)).await?;
            let run = self.map(request, at, most).await?;
            if run.kind.is_stored() || run.kind == crate::format::entry::Kind::Compressed {
                at += run.bytes;
                continue;
            }
            let want = self.clusters_around(&(at..at + run.bytes));
            let count = (want.end - want.start) >> bits;
            let (claimed, host, count, fresh) = match self.geometry.keeps_data {
                true => {
                    let claimed = self.claim(request, count, false).await?;
                    let (host, count) = (claimed.offset(), claimed.count());
                    let fresh = claimed.is_fresh();
                    (Some(claimed), host, count, fresh)
                }
                false => (None, want.start, count, false),
            };
            if !fresh || how != Preallocation::Metadata {
                let data = self.data(request)?;
                data.write_zeroes(host, count << bits, WriteFlags::empty())
                    .await?;
            } else if self.geometry.keeps_data {
                // What an entry refers to is in the file.
                self.reach_end(request).await?;
            }
            let extended = self.geometry.has_subclusters();
            self.change_entries(request, want.start, count, |number, old, _| {
                let zero = !extended && old.word & ZERO != 0;
                Entry {
                    word: (host + (number << bits)) | COPIED | if zero { ZERO } else { 0 },
                    bitmap: if extended { old.bitmap & ALL_ZERO } else { 0 },
                }
            })
            .await?;
            if let Some(claimed) = claimed {
                claimed.keep();
            }
            at = (want.start + (count << bits)).min(to);
        }
        Ok(())
    }

    /// Makes the file as long as what was given out of it.
    async fn reach_end(&self, request: Request<'_>) -> Result<(), IoError> {
        let end = self.lock().refs.fresh << self.geometry.cluster_bits;
        let file = request.file()?;
        match file.length().await? < end {
            true => file.truncate(end, false, Preallocation::Off).await,
            false => Ok(()),
        }
    }
}
