//! Writing.
//!
//! What lies in a cluster that nothing else uses is written in place. For
//! anything else clusters are taken, written, and then linked; whoever is
//! about to do that for the same clusters of the guest waits.

use std::ops::Range;

use block_io::{Buffer, IoError, IoFuture, Request, Source, SourceVec, WriteFlags};

use crate::cache::{entry_at, set_entry};
use crate::format::entry::{ALL_STORED, COPIED, CompressedRange, Entry, Kind, SUBCLUSTERS};
use crate::grace::Inside;
use crate::image::{Claimed, Image, State};
use crate::map::{Plain, Run};
use crate::read::inside;
use crate::steps::{is_heard, step};

/// How much is allocated at once, at most, in bytes.
const MOST: u64 = 8 << 20;

/// How a part of a write gets its clusters.
enum Plan {
    /// They are there, and nothing else uses them.
    InPlace(Run),
    /// They are there, but what they hold does not count.
    Reuse(Run),
    /// They have to be taken: how many at most, and whether all of each has to
    /// be written because what is there is elsewhere.
    Take(u64, bool),
}

impl Image {
    /// Writes what the guest is to see from `offset` on.
    pub fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        if flags.contains(WriteFlags::COMPRESSED) {
            return IoFuture::new(
                async move { self.write_compressed(request, offset, from).await },
            );
        }
        if !self.standing.is_plain() {
            return IoFuture::new(async move {
                self.get_ready(request).await?;
                let _here = self.grace.enter();
                self.write_runs(request, offset, from).await
            });
        }
        let bytes = from.len() as u64;
        let here = self.grace.enter();
        let here = match self.plain(request, offset, bytes) {
            Some(Plain::Data(host, true)) if self.is_only_data(host, bytes) => {
                match request.file() {
                    Ok(file) if file.hears_events() => here,
                    Ok(file) => return inside(here, file.write(host, from)),
                    Err(error) => return IoFuture::failed(error),
                }
            }
            Some(Plain::Unallocated) => match self.write_blank(request, offset, from, here) {
                Ok(running) => return running,
                Err(here) => here,
            },
            _ => here,
        };
        if let Some(run) = self.lookup(request, offset, bytes)
            && run.bytes == bytes
            && run.kind == Kind::Data
            && run.own
            && self.is_only_data(run.host, bytes)
            && let Ok(data) = self.data(request)
            && !is_heard(request)
        {
            return inside(here, data.write(run.host, from));
        }
        IoFuture::new(async move {
            let _here = here;
            self.write_runs(request, offset, from).await
        })
    }

    /// Writes to a part of one cluster that nothing is known of: neither here
    /// nor below. So nothing has to be read or filled up, and where all that is
    /// needed is in memory only the write itself may have to be awaited.
    ///
    /// # Errors
    /// `here`, when it is not like that.
    fn write_blank<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        here: Inside<'r>,
    ) -> Result<IoFuture<'r>, Inside<'r>> {
        let Ok(file) = request.file() else {
            return Err(here);
        };
        let owned = self.l1.get(self.geometry.l1_index(offset)) & COPIED != 0;
        if !owned || request.backing().is_ok() || file.hears_events() {
            return Err(here);
        }
        let skip = self.geometry.in_cluster(offset);
        let first = offset - skip;
        let cluster = first..first + self.geometry.cluster_size();
        let Some(turn) = self.turns.try_enter(cluster, true) else {
            return Err(here);
        };
        // Only who has the turn changes it from now on.
        if self.plain(request, offset, from.len() as u64) != Some(Plain::Unallocated) {
            return Err(here);
        }
        let Some(claimed) = self.claim_fresh() else {
            return Err(here);
        };
        let host = claimed.offset();
        if !self.is_only_data(host + skip, from.len() as u64) {
            // Said with care by the one who asks next.
            return Err(here);
        }
        let outcome = match file.write(host + skip, from).into_ready() {
            Ok(Ok(())) if self.try_link(request, first, host) => {
                claimed.keep();
                return Ok(IoFuture::done());
            }
            Ok(Err(error)) => return Ok(IoFuture::failed(error)),
            Ok(Ok(())) => IoFuture::done(),
            Err(running) => running,
        };
        Ok(IoFuture::new(async move {
            let (_here, _turn) = (here, turn);
            outcome.await?;
            while !self.try_link(request, first, host) {
                self.load_slice(request, self.slice_of(request, first).0)
                    .await?;
            }
            claimed.keep();
            Ok(())
        }))
    }

    /// Lets the cluster of the guest at `first` be the one at `host`, if its
    /// slice is in memory.
    fn try_link(&self, request: Request<'_>, first: u64, host: u64) -> bool {
        self.try_change_entries(request, first, 1, &mut |_, old, state| {
            self.free_entry(old, state, false);
            Entry {
                word: host | COPIED,
                bitmap: 0,
            }
        })
    }

    /// As [`write`](Image::write), part by part.
    pub async fn write_runs(
        &self,
        request: Request<'_>,
        mut offset: u64,
        mut from: Source<'_>,
    ) -> Result<(), IoError> {
        while !from.is_empty() {
            let bytes = from.len() as u64;
            let run = self.map_to_write(request, offset, bytes).await?;
            let done = if run.kind == Kind::Data && run.own {
                let (piece, _) = from.split_at(run.bytes as usize);
                self.check_overlap(request, run.host, run.bytes).await?;
                step(request, "write_aio").await;
                self.data(request)?.write(run.host, piece).await?;
                run.bytes
            } else {
                // Parts are cut where a slice ends, so that they are linked
                // in one step.
                let most = self.to_slice_end(request, offset).min(bytes).min(MOST);
                let (piece, _) = from.split_at(most as usize);
                self.write_new(request, offset, piece).await?
            };
            offset += done;
            from = from.split_at(done as usize).1;
        }
        Ok(())
    }

    /// How many bytes of the guest there are up to the end of the slice.
    pub fn to_slice_end(&self, request: Request<'_>, offset: u64) -> u64 {
        let coverage = self.geometry.cluster_size() << self.slice_bits(request);
        coverage - (offset & (coverage - 1))
    }

    /// The clusters of the guest that hold these bytes.
    pub fn clusters_around(&self, range: &Range<u64>) -> Range<u64> {
        let size = self.geometry.cluster_size();
        range.start & !(size - 1)..range.end.next_multiple_of(size)
    }

    /// Writes a part that is not in place, and says how much of it was
    /// written.
    async fn write_new(
        &self,
        request: Request<'_>,
        offset: u64,
        from: Source<'_>,
    ) -> Result<u64, IoError> {
        let geometry = &self.geometry;
        let mut range = offset..offset + from.len() as u64;
        let around = self.clusters_around(&range);
        let _turn = self.turns.enter(around.clone(), true).await;
        self.own_table(request, self.geometry.l1_index(offset))
            .await?;
        let plan = loop {
            match self.plan(request, &range) {
                Some(plan) => break plan,
                None => {
                    self.load_slice(request, self.slice_of(request, offset).0)
                        .await?
                }
            }
        };
        let bits = geometry.cluster_bits;
        let (claimed, host, count, whole) = match plan {
            Plan::InPlace(run) if run.kind == Kind::Invalid => {
                // Says what is wrong.
                self.map(request, offset, 1).await?;
                return Ok(0);
            }
            Plan::InPlace(run) => {
                let (piece, _) = from.split_at(run.bytes as usize);
                self.check_overlap(request, run.host, run.bytes).await?;
                step(request, "write_aio").await;
                self.data(request)?.write(run.host, piece).await?;
                return Ok(run.bytes);
            }
            Plan::Reuse(run) => {
                // Behind it there may be data that somebody writes in place.
                range.end = offset + run.bytes;
                let host = run.host - geometry.in_cluster(offset);
                (None, host, u64::MAX >> bits, false)
            }
            Plan::Take(count, whole) if self.geometry.keeps_data => {
                let claimed = self.claim(request, count, false).await?;
                let (host, count) = (claimed.offset(), claimed.count());
                (Some(claimed), host, count, whole)
            }
            // In a data file everything is where the guest has it.
            Plan::Take(count, whole) => (None, around.start, count, whole),
        };
        let end = around.start.saturating_add(count << bits).min(range.end);
        let (piece, _) = from.split_at((end - offset) as usize);
        let part = offset..end;
        let fresh = claimed.as_ref().is_some_and(Claimed::is_fresh);
        let filled = self
            .write_filled(request, &part, piece, host, whole, fresh)
            .await?;
        self.link(request, around.start, count, host, &part, &filled, whole)
            .await?;
        if let Some(claimed) = claimed {
            claimed.keep();
        }
        Ok(end - offset)
    }

    /// How to write the beginning of `range`, if its slice is in memory.
    fn plan(&self, request: Request<'_>, range: &Range<u64>) -> Option<Plan> {
        let geometry = &self.geometry;
        let bytes = range.end - range.start;
        let run = self.lookup(request, range.start, bytes)?;
        if run.kind == Kind::Invalid || (run.kind == Kind::Data && run.own) {
            return Some(Plan::InPlace(run));
        }
        let (key, index) = self.slice_of(request, range.start);
        let around = self.clusters_around(range);
        let most = ((around.end - around.start) >> geometry.cluster_bits) as usize;
        self.slices.get(request).read(key, |words| {
            let entry = |number: usize| entry_at(words, index + number, geometry.words_per_entry);
            let first = entry(0);
            let stored = |entry: Entry| {
                !entry.is_compressed()
                    && (entry.host() != 0 || !geometry.keeps_data && entry.word & COPIED != 0)
            };
            if stored(first) && first.is_own() {
                return Plan::Reuse(run);
            }
            let holds = |entry: Entry| entry.is_compressed() || stored(entry);
            let whole = holds(first);
            let alike = |number: &usize| {
                let entry = entry(*number);
                let own = stored(entry) && entry.is_own();
                !own && holds(entry) == whole
            };
            let count = 1 + (1..most).take_while(alike).count();
            Plan::Take(count as u64, whole)
        })
    }

    /// Writes a part and, in the same write, what its first and last unit
    /// lack. Says which bytes of the guest have been written.
    async fn write_filled(
        &self,
        request: Request<'_>,
        part: &Range<u64>,
        piece: Source<'_>,
        host: u64,
        whole: bool,
        fresh: bool,
    ) -> Result<Range<u64>, IoError> {
        let unit = match whole {
            true => self.geometry.cluster_size(),
            false => self.geometry.subcluster_size(),
        };
        let start = part.start & !(unit - 1);
        let end = part.end.next_multiple_of(unit);
        let first_cluster = part.start & !(self.geometry.cluster_size() - 1);
        let data = self.data(request)?;
        let at = |offset: u64| host + (offset - first_cluster);
        self.check_overlap(request, at(start), end - start).await?;
        let (before, after) = (start..part.start, part.end..end);
        if before.is_empty() && after.is_empty() {
            step(request, "write_aio").await;
            data.write(at(start), piece).await?;
            return Ok(start..end);
        }
        // Where nothing is stored and nothing is below there are zeroes.
        let zero = !whole && request.backing().is_err();
        if zero && fresh {
            step(request, "cluster_alloc_space").await;
            step(request, "write_aio").await;
            data.write(at(part.start), piece).await?;
            return Ok(start..end);
        }
        let before_data = self.old(request, &before, fresh, zero).await?;
        let after_data = self.old(request, &after, fresh, zero).await?;
        let fills = before_data.is_some() || after_data.is_some();
        if !fills {
            step(request, "cluster_alloc_space").await;
        }
        step(request, "write_aio").await;
        if fills {
            step(request, "cow_write").await;
        }
        let mut vector = SourceVec::new();
        if let Some(before) = &before_data {
            vector.push(before.source());
        }
        vector.push(piece);
        if let Some(after) = &after_data {
            vector.push(after.source());
        }
        let from = if before_data.is_some() {
            start
        } else {
            part.start
        };
        data.write(at(from), vector.source()).await?;
        Ok(start..end)
    }

    /// What the guest sees in a range. `None` for zeroes where the file has
    /// such.
    async fn old(
        &self,
        request: Request<'_>,
        range: &Range<u64>,
        fresh: bool,
        zero: bool,
    ) -> Result<Option<Buffer>, IoError> {
        if range.is_empty() {
            return Ok(None);
        }
        let bytes = range.end - range.start;
        let zero = zero || self.reads_as_zero(request, range).await?;
        if zero && fresh {
            return Ok(None);
        }
        let mut buffer = Buffer::zeroed(bytes as usize);
        if !zero {
            let inside = self.size().saturating_sub(range.start).min(bytes);
            let (into, _) = buffer.destination().split_at(inside as usize);
            step(request, "cow_read").await;
            self.read_runs(request, range.start, into).await?;
        }
        Ok(Some(buffer))
    }

    /// Whether all of a range is known to read as zeroes.
    pub async fn reads_as_zero(
        &self,
        request: Request<'_>,
        range: &Range<u64>,
    ) -> Result<bool, IoError> {
        let mut at = range.start;
        let end = range.end.min(self.size());
        while at < end {
            let run = self.map(request, at, end - at).await?;
            let zero = match run.kind {
                kind if kind.is_zero() => true,
                kind if kind.is_unallocated() => match request.backing() {
                    Err(_) => true,
                    Ok(backing) => {
                        let length = backing.node().length();
                        at >= length
                            || backing
                                .is_zero_fast(at, run.bytes.min(length - at))
                                .await
                                .unwrap_or(false)
                    }
                },
                _ => false,
            };
            if !zero {
                return Ok(false);
            }
            at += run.bytes;
        }
        Ok(true)
    }

    /// Lets the clusters of the guest from `first` on be those at `host`,
    /// where `filled` has been written. Clusters that had others lose them.
    #[allow(clippy::too_many_arguments)]
    async fn link(
        &self,
        request: Request<'_>,
        first: u64,
        count: u64,
        host: u64,
        part: &Range<u64>,
        filled: &Range<u64>,
        whole: bool,
    ) -> Result<(), IoError> {
        let geometry = &self.geometry;
        let last = part.end - 1;
        let count = count.min(((last - first) >> geometry.cluster_bits) + 1);
        self.change_entries(request, first, count, |number, old, state| {
            let offset = number << geometry.cluster_bits;
            let new_host = host + offset;
            let was_here = !old.is_compressed() && old.is_own() && old.host() == new_host;
            if !was_here {
                self.free_entry(old, state, false);
            }
            let mut entry = Entry {
                word: new_host | COPIED,
                bitmap: 0,
            };
            if geometry.has_subclusters() {
                let cluster = first + offset;
                let stored = subclusters(geometry.subcluster_bits, cluster, filled);
                entry.bitmap = match whole {
                    true => ALL_STORED,
                    false => old.bitmap & !(stored << 32) | stored,
                };
            }
            entry
        })
        .await
    }

    /// Changes `count` entries of one slice from that of `first` on, which is
    /// brought into memory and noted as dirty. What the entries were is passed
    /// on.
    pub async fn change_entries(
        &self,
        request: Request<'_>,
        first: u64,
        count: u64,
        mut change: impl FnMut(u64, Entry, &mut State) -> Entry,
    ) -> Result<(), IoError> {
        while !self.try_change_entries(request, first, count, &mut change) {
            self.load_slice(request, self.slice_of(request, first).0)
                .await?;
        }
        Ok(())
    }

    /// As [`change_entries`](Image::change_entries), if the slice is in memory.
    fn try_change_entries(
        &self,
        request: Request<'_>,
        first: u64,
        count: u64,
        change: &mut impl FnMut(u64, Entry, &mut State) -> Entry,
    ) -> bool {
        let (key, index) = self.slice_of(request, first);
        let per_entry = self.geometry.words_per_entry;
        let state = &mut *self.lock();
        let slices = self.slices.get(request);
        let Some(place) = slices.find(key) else {
            return false;
        };
        let length = slices.words() * 8;
        slices.change(place, |words| {
            for number in 0..count {
                let at = index + number as usize;
                let old = entry_at(words, at, per_entry);
                let new = change(number, old, state);
                if new != old {
                    set_entry(words, at, per_entry, new);
                    state.places.note(place, at * per_entry * 8, length);
                }
            }
        });
        true
    }

    /// Gives up what an entry refers to.
    pub fn free_entry(&self, entry: Entry, state: &mut State, discard: bool) {
        let geometry = &self.geometry;
        if !geometry.keeps_data {
            return;
        }
        if entry.is_compressed() {
            let range = CompressedRange::of(entry.word, geometry.cluster_bits);
            let first = range.start >> geometry.cluster_bits;
            let last = (range.start + range.bytes - 1) >> geometry.cluster_bits;
            state.free(first..last + 1, discard);
        } else if entry.host() != 0 {
            let cluster = entry.host() >> geometry.cluster_bits;
            state.free(cluster..cluster + 1, discard);
        }
    }
}

/// Which subclusters of a cluster are within `range`, as bits.
pub(crate) fn subclusters(bits: u32, cluster: u64, range: &Range<u64>) -> u64 {
    let size = u64::from(SUBCLUSTERS) << bits;
    let start = range.start.clamp(cluster, cluster + size) - cluster;
    let end = range.end.clamp(cluster, cluster + size) - cluster;
    let first = start.div_ceil(1 << bits);
    let last = end >> bits;
    if first >= last {
        return 0;
    }
    ((1u64 << last) - 1) & !((1u64 << first) - 1)
}
