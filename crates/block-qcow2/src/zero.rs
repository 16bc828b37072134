//! Zero writes and discards: changes of the mapping without data.

use std::ops::Range;
use std::sync::atomic::Ordering;

use block_io::{IoError, Request, WriteFlags};

use crate::format::entry::{ALL_ZERO, Entry, Kind, ZERO};
use crate::image::Image;
use crate::write::subclusters;

/// What a range becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Become {
    /// Zeroes; the clusters stay where they are.
    Zero,
    /// Zeroes, without clusters.
    ZeroUnmapped,
    /// What a guest gave up: zeroes if possible.
    Discarded,
    /// Nothing: what is below shows.
    Nothing,
}

impl Image {
    /// Makes a range read as zeroes.
    ///
    /// # Errors
    /// [`IoError::NotSupported`] where that takes data.
    pub async fn write_zeroes(
        &self,
        request: Request<'_>,
        offset: u64,
        bytes: u64,
        flags: WriteFlags,
    ) -> Result<(), IoError> {
        self.get_ready(request).await?;
        let _here = self.grace.enter();
        let without_zeroes = self.without_zeroes.load(Ordering::Acquire);
        if without_zeroes && request.backing().is_ok() {
            return Err(IoError::NotSupported);
        }
        let unit = self.geometry.subcluster_size();
        let exact = offset..offset + bytes;
        let mut range = exact.clone();
        let at_end = range.end >= self.size();
        if range.start % unit != 0 || (range.end % unit != 0 && !at_end) {
            // Worth it only if what lies around is zero too.
            let start = range.start & !(unit - 1);
            let end = range.end.next_multiple_of(unit);
            let before = self.reads_as_zero(request, &(start..range.start)).await?;
            if !before || !self.reads_as_zero(request, &(range.end..end)).await? {
                return Err(IoError::NotSupported);
            }
            range.start = start;
        }
        range.end = range.end.next_multiple_of(unit);
        if self.mirrors_data() {
            let end = exact.end.min(self.size());
            let data = request.child("data-file")?;
            let flags = flags & (WriteFlags::MAY_UNMAP | WriteFlags::NO_FALLBACK);
            data.write_zeroes(offset, end.saturating_sub(offset), flags)
                .await?;
        }
        let to =
            match flags.contains(WriteFlags::MAY_UNMAP) && !self.settings.lock().discard_no_unref {
                // What has no cluster reads as zeroes.
                _ if without_zeroes => Become::Discarded,
                true => Become::ZeroUnmapped,
                false => Become::Zero,
            };
        let discard = self.settings.lock().pass_discard_request;
        self.convert_around(request, range, &exact, to, discard)
            .await
    }

    /// Whether the file with the data has to show what the guest sees
    /// (`data_file_is_raw`).
    pub fn mirrors_data(&self) -> bool {
        !self.geometry.keeps_data && self.lock().header.has_raw_data()
    }

    /// Gives up whole clusters of a range.
    ///
    /// # Errors
    /// [`IoError::NotSupported`] where stale data would show.
    pub async fn discard(
        &self,
        request: Request<'_>,
        offset: u64,
        bytes: u64,
    ) -> Result<(), IoError> {
        self.get_ready(request).await?;
        let _here = self.grace.enter();
        if self.without_zeroes.load(Ordering::Acquire) && request.backing().is_ok() {
            return Err(IoError::NotSupported);
        }
        let size = self.geometry.cluster_size();
        let end = match offset + bytes >= self.size() {
            true => (offset + bytes).next_multiple_of(size),
            false => (offset + bytes) & !(size - 1),
        };
        let start = offset.next_multiple_of(size);
        if start >= end {
            return Err(IoError::NotSupported);
        }
        let discard = self.settings.lock().pass_discard_request;
        self.convert(request, start..end, Become::Discarded, discard)
            .await
    }

    /// Converts a range of whole subclusters, slice by slice. With `discard`
    /// the file may forget the clusters that are given up.
    pub async fn convert(
        &self,
        request: Request<'_>,
        range: Range<u64>,
        to: Become,
        discard: bool,
    ) -> Result<(), IoError> {
        let exact = range.clone();
        self.convert_around(request, range, &exact, to, discard)
            .await
    }

    /// As [`convert`](Image::convert), where only `exact` was asked for, and
    /// what lies around it in the same subclusters is zero.
    ///
    /// # Errors
    /// [`IoError::NotSupported`] when it is not, or not any more.
    async fn convert_around(
        &self,
        request: Request<'_>,
        mut range: Range<u64>,
        exact: &Range<u64>,
        to: Become,
        discard: bool,
    ) -> Result<(), IoError> {
        let keep = to == Become::Discarded && self.settings.lock().discard_no_unref;
        let has_backing = request.backing().is_ok();
        while range.start < range.end {
            let start = range.start;
            let end = range.end.min(start + self.to_slice_end(request, start));
            range.start = end;
            let part = start..end;
            let around = self.clusters_around(&part);
            let _turn = self.turns.enter(around.clone(), true).await;
            // Somebody may have written there before it was our turn.
            let before = start..exact.start.clamp(start, end);
            let after = exact.end.clamp(start, end)..end;
            if !self.reads_as_zero(request, &before).await?
                || !self.reads_as_zero(request, &after).await?
            {
                return Err(IoError::NotSupported);
            }
            let index = self.geometry.l1_index(start);
            let has_table = self.l1.table(index) != 0;
            let nothing_to_do = match to {
                Become::Nothing => true,
                Become::Discarded => !has_backing,
                Become::Zero | Become::ZeroUnmapped => false,
            };
            if !has_table && nothing_to_do {
                // Jump over what the missing table describes.
                let coverage = self.geometry.l2_coverage();
                range.start = range.end.min((start & !(coverage - 1)) + coverage);
                continue;
            }
            if self.is_converted(request, &part, to, has_backing).await? {
                continue;
            }
            self.check_parts(request, &part).await?;
            if to == Become::Discarded || to == Become::Nothing {
                self.forget_data(request, &part, discard).await?;
            }
            self.own_table(request, index).await?;
            let bits = self.geometry.cluster_bits;
            let count = (around.end - around.start) >> bits;
            self.change_entries(request, around.start, count, |number, old, state| {
                let cluster = around.start + (number << bits);
                let new = self.converted(old, cluster, &part, to, has_backing, keep);
                let lost = old.is_compressed() || old.host() != 0;
                if lost && new.host() != old.host() || (old.is_compressed() && !new.is_compressed())
                {
                    self.free_entry(old, state, discard);
                }
                new
            })
            .await?;
        }
        Ok(())
    }

    /// Makes zero what the file with the data has of a range that is given
    /// up: it must look like what the guest sees, or takes room if `pass`.
    async fn forget_data(
        &self,
        request: Request<'_>,
        part: &Range<u64>,
        discard: bool,
    ) -> Result<(), IoError> {
        let must = self.mirrors_data();
        if self.geometry.keeps_data || !(must || discard) {
            return Ok(());
        }
        let data = request.child("data-file")?;
        let bytes = part.end.min(self.size()).saturating_sub(part.start);
        if bytes == 0 {
            return Ok(());
        }
        if must {
            let flags = WriteFlags::MAY_UNMAP;
            return data.write_zeroes(part.start, bytes, flags).await;
        }
        // Until the mapping is stored a crash may show it.
        let flags = WriteFlags::MAY_UNMAP | WriteFlags::NO_FALLBACK;
        let _ = data.write_zeroes(part.start, bytes, flags).await;
        Ok(())
    }

    /// Refuses to convert a part of a cluster that is compressed: it has no
    /// subclusters. Whoever asks writes zeroes.
    ///
    /// # Errors
    /// [`IoError::NotSupported`].
    async fn check_parts(&self, request: Request<'_>, part: &Range<u64>) -> Result<(), IoError> {
        let is_inside = |offset: u64| self.geometry.in_cluster(offset) != 0;
        let last = (part.end - 1).max(part.start);
        for (is_part, at) in [
            (is_inside(part.start), part.start),
            (is_inside(part.end), last),
        ] {
            if is_part && self.map(request, at, 1).await?.kind == Kind::Compressed {
                return Err(IoError::NotSupported);
            }
        }
        Ok(())
    }

    /// Whether a range is known to be what it is to become, so that no table
    /// has to be made for it.
    async fn is_converted(
        &self,
        request: Request<'_>,
        part: &Range<u64>,
        to: Become,
        has_backing: bool,
    ) -> Result<bool, IoError> {
        let run = self.map(request, part.start, part.end - part.start).await?;
        let same = match (to, run.kind) {
            (Become::Nothing, kind) => kind == Kind::Unallocated,
            (_, Kind::Zero) => true,
            (_, Kind::ZeroStored) => to == Become::Zero,
            (Become::Discarded, Kind::Unallocated) => !has_backing,
            _ => false,
        };
        Ok(same && run.bytes == part.end - part.start)
    }

    /// What the entry of the cluster at `cluster` becomes.
    fn converted(
        &self,
        old: Entry,
        cluster: u64,
        part: &Range<u64>,
        to: Become,
        has_backing: bool,
        keep: bool,
    ) -> Entry {
        let geometry = &self.geometry;
        let extended = geometry.has_subclusters();
        let whole = part.start <= cluster && part.end >= cluster + geometry.cluster_size();
        let is_empty = old.word == 0 && old.bitmap == 0;
        let unmapped = Entry {
            word: if extended { 0 } else { ZERO },
            bitmap: if extended { ALL_ZERO } else { 0 },
        };
        if to == Become::Nothing {
            return Entry::default();
        }
        if is_empty && !has_backing && to == Become::Discarded {
            // It reads as zeroes already.
            return old;
        }
        if extended && !whole {
            if old.is_compressed() {
                // Written anew by whoever wants a part of it zero.
                return old;
            }
            let bits = subclusters(geometry.subcluster_bits, cluster, part);
            return Entry {
                word: old.word,
                bitmap: (old.bitmap | bits << 32) & !bits,
            };
        }
        let stored = !old.is_compressed() && (old.host() != 0 || !geometry.keeps_data);
        match to {
            Become::Zero if stored => self.zeroed_in_place(old),
            Become::Discarded if stored && keep => self.zeroed_in_place(old),
            Become::Discarded if self.without_zeroes.load(Ordering::Acquire) => Entry::default(),
            _ => unmapped,
        }
    }

    fn zeroed_in_place(&self, old: Entry) -> Entry {
        match self.geometry.has_subclusters() {
            true => Entry {
                word: old.word,
                bitmap: ALL_ZERO,
            },
            false => Entry {
                word: old.word | ZERO,
                bitmap: 0,
            },
        }
    }
}
