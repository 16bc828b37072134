//! Internal snapshots: first-level tables that are kept, and whatever they
//! refer to, which is counted once more.
//!
//! Everything here happens in a drained section: nothing else is in flight.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use block_common::error::errno;
use block_gs::{BqlGuard, Drained, GraphError, SnapshotInfo, SnapshotKey, Snapshots};
use block_io::{Buffer, IoError, Request};

use crate::check::entries_of;
use crate::commit::Goal;
use crate::driver::Qcow2;
use crate::format::Limits;
use crate::format::entry::{COPIED, CompressedRange, Entry, OFFSET};
use crate::format::snapshot::{self, Snapshot};
use crate::image::{Claimed, Image};
use crate::open::read_words;
use crate::switch::Extent;

/// What is done to every use that a first-level table makes of a cluster.
enum Change<'c> {
    /// One more, which is noted.
    More(&'c mut Vec<Range<u64>>),
    Fewer,
}

fn info_of(snapshot: &Snapshot) -> SnapshotInfo {
    SnapshotInfo {
        id: snapshot.shown_id(),
        name: snapshot.shown_name(),
        vm_state_size: snapshot.vm_state_size,
        date: Duration::new(
            u64::from(snapshot.seconds),
            snapshot.nanoseconds % 1_000_000_000,
        ),
        vm_clock: Duration::from_nanos(snapshot.vm_clock),
        instructions: (snapshot.instructions != u64::MAX).then_some(snapshot.instructions),
    }
}

impl Image {
    /// Where the state of a virtual machine begins, behind the guest's bytes.
    pub fn vm_state_offset(&self) -> u64 {
        self.geometry.l1_entries(self.size()) * self.geometry.l2_coverage()
    }

    /// Makes a snapshot and says what it is called.
    ///
    /// # Errors
    /// What was counted for it is counted no more.
    async fn create_snapshot(
        &self,
        request: Request<'_>,
        info: &SnapshotInfo,
    ) -> Result<String, IoError> {
        let mut counted = Vec::new();
        let created = self.try_create(request, info, &mut counted).await;
        if created.is_err() {
            self.uncount(request, counted).await;
        }
        created
    }

    /// Takes back what was counted for something that has failed. What comes
    /// of it, nothing is worse than a leak.
    async fn uncount(&self, request: Request<'_>, counted: Vec<Range<u64>>) {
        if counted.is_empty() {
            return;
        }
        {
            let state = &mut *self.lock();
            for clusters in counted {
                state.release(clusters, false);
            }
        }
        if self.commit(request, Goal::Durable).await.is_ok()
            && self.mark_copied(request, true).await.is_ok()
        {
            let _ = self.commit(request, Goal::Durable).await;
        }
    }

    async fn try_create(
        &self,
        request: Request<'_>,
        info: &SnapshotInfo,
        counted: &mut Vec<Range<u64>>,
    ) -> Result<String, IoError> {
        self.check_sane()?;
        if !self.geometry.keeps_data {
            return Err(IoError::from_errno(errno::ENOTSUP));
        }
        self.commit(request, Goal::Durable).await?;
        let (mut all, l1_size) = {
            let state = self.lock();
            (state.snapshots.clone(), state.header.l1_size)
        };
        if all.len() >= Limits::SNAPSHOTS as usize {
            return Err(IoError::from_errno(27));
        }
        let id = new_id(&all);
        let l1: Vec<u64> = (0..u64::from(l1_size))
            .map(|index| self.l1.get(index) & !COPIED)
            .collect();
        // Nothing is written in place from now on.
        self.count_tree(request, &l1, Change::More(counted)).await?;
        self.share_all(request).await?;
        let bits = self.geometry.cluster_bits;
        let claimed = self
            .claim(
                request,
                self.geometry.clusters_of(l1.len() as u64 * 8).max(1),
                true,
            )
            .await?;
        let bytes: Vec<u8> = l1.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        let file = request.file()?;
        let mut table = Buffer::zeroed((claimed.count() << bits) as usize);
        table.as_mut_slice()[..bytes.len()].copy_from_slice(&bytes);
        file.write(claimed.offset(), table.source()).await?;
        self.commit(request, Goal::Durable).await?;
        all.push(Snapshot {
            l1_offset: claimed.offset(),
            l1_size,
            id: id.clone().into_bytes(),
            name: info.name.clone().into_bytes(),
            seconds: info.date.as_secs() as u32,
            nanoseconds: info.date.subsec_nanos(),
            vm_clock: info.vm_clock.as_nanos() as u64,
            vm_state_size: info.vm_state_size,
            disk_size: self.size(),
            instructions: info.instructions.unwrap_or(u64::MAX),
            unknown_extra: Vec::new(),
        });
        self.replace_snapshots(request, all, Some(claimed)).await?;
        counted.clear();
        self.note_metadata();
        if info.vm_state_size > 0 {
            // It belongs to the snapshot now.
            self.forget_behind(request, self.vm_state_offset(), false)
                .await?;
        }
        Ok(id)
    }

    /// Stores another table of snapshots in place of the one that is there.
    /// `table` is that of the first level which a new one of them has.
    pub async fn replace_snapshots(
        &self,
        request: Request<'_>,
        all: Vec<Snapshot>,
        table: Option<Claimed<'_>>,
    ) -> Result<(), IoError> {
        let bits = self.geometry.cluster_bits;
        let bytes = snapshot::write(&all)?;
        let file = request.file()?;
        let mut claimed: Vec<Claimed<'_>> = table.into_iter().collect();
        let mut offset = 0;
        if !bytes.is_empty() {
            let clusters = self.geometry.clusters_of(bytes.len() as u64);
            let place = self.claim(request, clusters, true).await?;
            let mut table = Buffer::zeroed((clusters << bits) as usize);
            table.as_mut_slice()[..bytes.len()].copy_from_slice(&bytes);
            offset = place.offset();
            self.check_overlap(request, offset, clusters << bits)
                .await?;
            file.write(offset, table.source()).await?;
            claimed.push(place);
        }
        let _turn = self.commits.enter(0..1, true).await;
        self.commit_now(request, Goal::Durable).await?;
        let before = self.lock().header.snapshots_offset;
        let count = all.len() as u32;
        self.switch_header(request, Extent::Fields, claimed, |header| {
            header.snapshots_offset = offset;
            header.snapshot_count = count;
        })
        .await?;
        let discard = self.settings.lock().pass_discard_snapshot;
        let state = &mut *self.lock();
        let old = self.geometry.clusters_of(state.snapshot_bytes);
        let first = before >> bits;
        state.release(first..first + old, discard);
        state.snapshots = all;
        state.snapshot_bytes = bytes.len() as u64;
        Ok(())
    }

    /// Counts one use more, or fewer, of whatever a first-level table refers
    /// to.
    async fn count_tree(
        &self,
        request: Request<'_>,
        l1: &[u64],
        mut change: Change<'_>,
    ) -> Result<(), IoError> {
        let geometry = &self.geometry;
        let bits = geometry.cluster_bits;
        let size = geometry.cluster_size();
        let file = request.file()?;
        let length = file.length().await?;
        for entry in l1 {
            let offset = entry & OFFSET;
            if offset == 0 {
                continue;
            }
            if geometry.in_cluster(offset) != 0 {
                let text = format!("L2 table offset {offset:#x} unaligned");
                return Err(self.corrupted(request, &text).await);
            }
            let words =
                read_words(file, offset, size / 8, length, "Could not read L2 table").await?;
            for entry in entries_of(geometry, &words) {
                let clusters = clusters_of(entry, bits);
                if let Some((first, last)) = clusters {
                    self.count(request, first, last, &mut change).await?;
                }
            }
            self.count(request, offset >> bits, offset >> bits, &mut change)
                .await?;
        }
        Ok(())
    }

    async fn count(
        &self,
        request: Request<'_>,
        first: u64,
        last: u64,
        change: &mut Change<'_>,
    ) -> Result<(), IoError> {
        let Change::More(counted) = change else {
            let discard = self.settings.lock().pass_discard_snapshot;
            // Nobody is there who could still use them.
            self.lock().release(first..last + 1, discard);
            return Ok(());
        };
        let most = self.geometry_now().counts.max();
        for cluster in first..=last {
            let has_room = self
                .with_refs(request, |refs| {
                    let count = refs.get(cluster)?;
                    if count < most {
                        refs.set(cluster, count + 1)?;
                    }
                    Ok(count < most)
                })
                .await?;
            if !has_room {
                return Err(IoError::from_errno(errno::EINVAL));
            }
            match counted.last_mut() {
                Some(run) if run.end == cluster => run.end += 1,
                _ => counted.push(cluster..cluster + 1),
            }
        }
        Ok(())
    }

    /// Says of nothing any more that it may be written in place.
    async fn share_all(&self, request: Request<'_>) -> Result<(), IoError> {
        self.mark_copied(request, false).await
    }

    /// Says of what is used once that it may be written in place, or of
    /// nothing.
    async fn mark_copied(&self, request: Request<'_>, by_count: bool) -> Result<(), IoError> {
        let geometry = &self.geometry;
        let bits = geometry.cluster_bits;
        let entries = u64::from(self.lock().header.l1_size);
        let file = request.file()?;
        let length = file.length().await?;
        for index in 0..entries {
            let offset = self.l1.table(index);
            if offset == 0 {
                continue;
            }
            let is_own = async |cluster: u64| -> Result<bool, IoError> {
                if !by_count {
                    return Ok(false);
                }
                Ok(self.with_refs(request, |refs| refs.get(cluster)).await? == 1)
            };
            let text = "Could not read L2 table";
            let words = read_words(file, offset, geometry.cluster_size() / 8, length, text).await?;
            for (at, entry) in entries_of(geometry, &words).enumerate() {
                if entry.is_compressed() || entry.host() == 0 {
                    continue;
                }
                let own = is_own(entry.host() >> bits).await?;
                if own == (entry.word & COPIED != 0) {
                    continue;
                }
                let first = ((index << geometry.l2_bits) + at as u64) << bits;
                self.change_entries(request, first, 1, |_, old, _| Entry {
                    word: old.word & !COPIED | if own { COPIED } else { 0 },
                    ..old
                })
                .await?;
            }
            let own = is_own(offset >> bits).await?;
            if own != (self.l1.get(index) & COPIED != 0) {
                self.l1.set(index, offset | if own { COPIED } else { 0 });
                self.lock().l1_dirty.insert(index);
            }
        }
        Ok(())
    }

    /// The first-level table of a snapshot.
    pub async fn snapshot_l1(
        &self,
        request: Request<'_>,
        snapshot: &Snapshot,
    ) -> Result<Vec<u64>, IoError> {
        let size = self.geometry.cluster_size();
        let entries = u64::from(snapshot.l1_size);
        let most = Limits::L1_BYTES;
        let name = "Snapshot L1 table";
        crate::format::check_table(name, snapshot.l1_offset, entries, 8, most, size)?;
        let file = request.file()?;
        let length = file.length().await?;
        let text = "Failed to read snapshot L1 table";
        read_words(file, snapshot.l1_offset, entries, length, text).await
    }

    /// Makes the image what it was.
    async fn go_to(&self, request: Request<'_>, snapshot: &Snapshot) -> Result<(), IoError> {
        let mut counted = Vec::new();
        let gone = self.try_go_to(request, snapshot, &mut counted).await;
        if gone.is_err() {
            self.uncount(request, counted).await;
        }
        gone
    }

    async fn try_go_to(
        &self,
        request: Request<'_>,
        snapshot: &Snapshot,
        counted: &mut Vec<Range<u64>>,
    ) -> Result<(), IoError> {
        self.get_ready(request).await?;
        if !self.geometry.keeps_data {
            return Err(IoError::from_errno(errno::ENOTSUP));
        }
        self.commit(request, Goal::Durable).await?;
        let mut l1 = self.snapshot_l1(request, snapshot).await?;
        for entry in &mut l1 {
            *entry &= OFFSET;
        }
        let size = if snapshot.disk_size > 0 {
            snapshot.disk_size
        } else {
            self.size()
        };
        if self.geometry.l1_entries(size) > l1.len() as u64 {
            return Err(IoError::from_errno(errno::EINVAL));
        }
        self.count_tree(request, &l1, Change::More(counted)).await?;
        let bits = self.geometry.cluster_bits;
        let clusters = self.geometry.clusters_of(l1.len() as u64 * 8).max(1);
        let claimed = self.claim(request, clusters, true).await?;
        let mut table = Buffer::zeroed((clusters << bits) as usize);
        for (word, entry) in table.as_mut_slice().chunks_exact_mut(8).zip(&l1) {
            word.copy_from_slice(&entry.to_be_bytes());
        }
        let file = request.file()?;
        file.write(claimed.offset(), table.source()).await?;
        let turn = self.commits.enter(0..1, true).await;
        self.commit_now(request, Goal::Durable).await?;
        // One sector of the header decides which of them it is.
        let before = {
            let header = &self.lock().header;
            (header.l1_offset, header.l1_size)
        };
        let offset = claimed.offset();
        self.switch_header(request, Extent::Fields, vec![claimed], |header| {
            header.l1_offset = offset;
            header.l1_size = l1.len() as u32;
            header.size = size;
        })
        .await?;
        counted.clear();
        let old: Vec<u64> = (0..u64::from(before.1))
            .map(|index| self.l1.get(index))
            .collect();
        self.show(request, &l1, before.1, size);
        self.note_metadata();
        drop(turn);
        self.count_tree(request, &old, Change::Fewer).await?;
        let first = before.0 >> bits;
        let old_clusters = self.geometry.clusters_of(u64::from(before.1) * 8);
        let discard = self.settings.lock().pass_discard_other;
        self.lock().release(first..first + old_clusters, discard);
        self.commit(request, Goal::Durable).await?;
        self.mark_copied(request, true).await?;
        self.commit(request, Goal::Durable).await
    }

    /// Shows another first-level table from now on. What was cached is of the
    /// old one.
    fn show(&self, request: Request<'_>, l1: &[u64], old_entries: u32, size: u64) {
        let slices = self.slices.get(request);
        let state = &mut *self.lock();
        for place in 0..slices.len() {
            slices.clear(place);
        }
        state.places.clear();
        let entries = l1.len().max(old_entries as usize);
        for index in 0..entries {
            self.l1
                .set(index as u64, l1.get(index).copied().unwrap_or(0));
        }
        state.l1_dirty.clear();
        self.size.store(size, Ordering::Release);
    }

    async fn delete_snapshot(&self, request: Request<'_>, at: usize) -> Result<(), IoError> {
        self.check_sane()?;
        let mut all = self.lock().snapshots.clone();
        if at >= all.len() {
            return Err(IoError::from_errno(errno::ENOENT));
        }
        let gone = all.remove(at);
        let l1 = self.snapshot_l1(request, &gone).await?;
        self.replace_snapshots(request, all, None).await?;
        self.count_tree(request, &l1, Change::Fewer).await?;
        let bits = self.geometry.cluster_bits;
        let clusters = self.geometry.clusters_of(u64::from(gone.l1_size) * 8);
        let first = gone.l1_offset >> bits;
        let discard = self.settings.lock().pass_discard_snapshot;
        self.lock().release(first..first + clusters, discard);
        self.commit(request, Goal::Durable).await?;
        self.mark_copied(request, true).await?;
        self.commit(request, Goal::Durable).await
    }
}

/// What no snapshot is called: one more than the greatest number that is one's
/// name, or the least that is none's.
fn new_id(all: &[Snapshot]) -> String {
    let number = |known: &Snapshot| std::str::from_utf8(&known.id).ok()?.parse::<u64>().ok();
    let numbers: BTreeSet<u64> = all.iter().filter_map(number).collect();
    let last = numbers.last().copied().unwrap_or(0);
    let next = last.checked_add(1);
    let next = next.or_else(|| (1..last).find(|number| !numbers.contains(number)));
    next.unwrap_or(last).to_string()
}

/// The first and the last cluster that an entry refers to.
fn clusters_of(entry: Entry, bits: u32) -> Option<(u64, u64)> {
    if entry.is_compressed() {
        let range = CompressedRange::of(entry.word, bits);
        return Some((range.start >> bits, (range.start + range.bytes - 1) >> bits));
    }
    let cluster = entry.host() >> bits;
    (cluster != 0).then_some((cluster, cluster))
}

fn refused(errno: i32, message: &str) -> GraphError {
    GraphError::Refused {
        message: message.to_owned(),
        errno,
    }
}

impl Qcow2 {
    fn find(&self, which: SnapshotKey<'_>) -> Option<(usize, Snapshot)> {
        let state = self.image.lock();
        let mut all = state.snapshots.iter().cloned().enumerate();
        all.find(|(_, known)| which.fits(&info_of(known)))
    }
}

impl Snapshots for Qcow2 {
    fn create(&self, section: &mut Drained<'_>, info: &mut SnapshotInfo) -> Result<(), GraphError> {
        let image = &self.image;
        let id =
            section.io(async |request: Request<'_>| image.create_snapshot(request, info).await)?;
        info.id = id;
        Ok(())
    }

    fn goto(&self, section: &mut Drained<'_>, id: &str) -> Result<(), GraphError> {
        let image = &self.image;
        if !image.geometry.keeps_data {
            return Err(IoError::from_errno(errno::ENOTSUP).into());
        }
        let by_id = SnapshotKey {
            id: Some(id),
            name: None,
        };
        let by_name = SnapshotKey {
            id: None,
            name: Some(id),
        };
        let found = self.find(by_id).or_else(|| self.find(by_name));
        let Some((_, snapshot)) = found else {
            return Err(IoError::from_errno(errno::ENOENT).into());
        };
        section.io(async |request: Request<'_>| image.go_to(request, &snapshot).await)?;
        self.fit_caches(section.node().io());
        Ok(())
    }

    fn delete(&self, section: &mut Drained<'_>, which: SnapshotKey<'_>) -> Result<(), GraphError> {
        let image = &self.image;
        let Some((at, _)) = self.find(which) else {
            return Err(refused(errno::ENOENT, "Can't find the snapshot"));
        };
        Ok(section.io(async |request: Request<'_>| image.delete_snapshot(request, at).await)?)
    }

    fn list(&self, _bql: &BqlGuard) -> Result<Vec<SnapshotInfo>, GraphError> {
        Ok(self.image.lock().snapshots.iter().map(info_of).collect())
    }

    fn load_temporarily(
        &self,
        section: &mut Drained<'_>,
        which: SnapshotKey<'_>,
    ) -> Option<Result<(), GraphError>> {
        let image = &self.image;
        let Some((_, snapshot)) = self.find(which) else {
            return Some(Err(refused(errno::ENOENT, "Can't find snapshot")));
        };
        let loaded = section.io(async |request: Request<'_>| -> Result<(), IoError> {
            let l1 = image.snapshot_l1(request, &snapshot).await?;
            let size = if snapshot.disk_size > 0 {
                snapshot.disk_size
            } else {
                image.size()
            };
            if image.geometry.l1_entries(size) > l1.len() as u64 {
                return Err(IoError::from_errno(errno::EINVAL));
            }
            let before = image.lock().header.l1_size;
            image.show(request, &l1, before, size);
            self.fit_caches(request.node());
            Ok(())
        });
        Some(loaded.map_err(GraphError::from))
    }
}
