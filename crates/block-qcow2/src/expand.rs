//! Images without zero flags, for readers of version 2.
//!
//! Every second-level table is looked at, those of snapshots too. One that is
//! shared stays shared: it is changed in place, entry by entry, after what the
//! entries are going to refer to is there and counted. An entry says the same
//! before and after, so the image is whole at any time.

use std::collections::HashSet;

use block_io::{Buffer, IoError, Request, WriteFlags};

use crate::amend::Tell;
use crate::check::entries_of;
use crate::commit::Goal;
use crate::format::bytes::put64;
use crate::format::entry::{COPIED, Entry, Kind, OFFSET};
use crate::image::{Claimed, Image};
use crate::open::read_words;

/// Clusters that are counted more than once, for a table that is shared.
/// Dropped, all uses of each are given back: `claimed` sees to one.
struct Shared<'i> {
    image: &'i Image,
    claimed: Vec<Claimed<'i>>,
    uses: u64,
    /// Those that are counted `uses` times already.
    raised: Vec<u64>,
}

impl Shared<'_> {
    fn keep(mut self) {
        self.raised.clear();
        self.claimed.drain(..).for_each(Claimed::keep);
    }
}

/// What a table that is being written may refer to. Dropped, it stays
/// counted: nobody knows which of the entries are stored.
struct Referred<'i>(Option<Shared<'i>>);

impl Referred<'_> {
    /// The table does not refer to it, and that is durable.
    fn give_back(mut self) {
        self.0 = None;
    }
}

impl Drop for Referred<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.keep();
        }
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        let state = &mut *self.image.lock();
        for cluster in self.raised.drain(..) {
            for _ in 1..self.uses {
                state.unused.push(cluster..cluster + 1);
            }
        }
    }
}

/// One entry of a table that is going to say something else.
struct Change {
    at: usize,
    to: To,
}

enum To {
    /// Nothing, and nothing is below.
    Nothing,
    /// The cluster that it has, with zeroes in it.
    Kept(u64),
    /// Another cluster, with zeroes in it.
    New,
}

impl Image {
    /// Where all second-level tables are, and whether the image itself is the
    /// only one that uses it.
    async fn all_tables(&self, request: Request<'_>) -> Result<Vec<(u64, bool)>, IoError> {
        let (entries, snapshots) = {
            let state = self.lock();
            (u64::from(state.header.l1_size), state.snapshots.clone())
        };
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        let mut add = |entry: u64, is_own: bool| {
            let offset = entry & OFFSET;
            if offset != 0 && seen.insert(offset) {
                all.push((offset, is_own));
            }
        };
        for index in 0..entries {
            let entry = self.l1.get(index);
            add(entry, entry & COPIED != 0);
        }
        for snapshot in &snapshots {
            let l1 = self.snapshot_l1(request, snapshot).await?;
            l1.into_iter().for_each(|entry| add(entry, false));
        }
        Ok(all)
    }

    /// Whether something is compressed, here or in a snapshot. Nothing may be
    /// in flight.
    pub async fn has_compressed(&self, request: Request<'_>) -> Result<bool, IoError> {
        self.commit(request, Goal::Durable).await?;
        let file = request.file()?;
        let length = file.length().await?;
        let entries = self.geometry.cluster_size() / 8;
        for (offset, _) in self.all_tables(request).await? {
            let text = "Could not read L2 table";
            let words = read_words(file, offset, entries, length, text).await?;
            if entries_of(&self.geometry, &words).any(Entry::is_compressed) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes all zero flags away; where something is below, there are clusters
    /// with zeroes instead. Nothing may be in flight, and there are no
    /// subclusters.
    ///
    /// # Errors
    /// Those of the file, `ENOSPC`; some of it is done then, and the image
    /// reads as before.
    pub async fn expand_zeroes(&self, request: Request<'_>, tell: Tell<'_>) -> Result<(), IoError> {
        self.commit(request, Goal::Durable).await?;
        {
            // What is cached of the tables is of before.
            let slices = self.slices.get(request);
            let state = &mut *self.lock();
            for place in 0..slices.len() {
                slices.clear(place);
            }
            state.places.clear();
        }
        let tables = self.all_tables(request).await?;
        let all = tables.len() as u64;
        for (done, (offset, is_own)) in tables.into_iter().enumerate() {
            self.expand_table(request, offset, is_own).await?;
            tell(done as u64 + 1, all);
        }
        if all == 0 {
            tell(1, 1);
        }
        self.commit(request, Goal::Durable).await
    }

    async fn expand_table(
        &self,
        request: Request<'_>,
        offset: u64,
        is_own: bool,
    ) -> Result<(), IoError> {
        let geometry = &self.geometry;
        let bits = geometry.cluster_bits;
        if geometry.in_cluster(offset) != 0 {
            let text = format!("L2 table offset {offset:#x} unaligned");
            return Err(self.corrupted(request, &text).await);
        }
        let file = request.file()?;
        let length = file.length().await?;
        let text = "Could not read L2 table";
        let mut words = read_words(file, offset, geometry.cluster_size() / 8, length, text).await?;
        let uses = self
            .with_refs(request, |refs| refs.get(offset >> bits))
            .await?
            .max(1);
        // It may be opened without the image below that its header names.
        let has_backing = request.backing().is_ok() || self.lock().header.backing_file.is_some();
        let mut changes = Vec::new();
        let mut given_up = Vec::new();
        for (at, word) in words.iter().enumerate() {
            let entry = Entry {
                word: *word,
                bitmap: 0,
            };
            let kind = entry.kind(false, 0, true);
            if !kind.is_zero() {
                continue;
            }
            let host = entry.host();
            if kind == Kind::ZeroStored && geometry.in_cluster(host) != 0 {
                let text = format!("Cluster allocation offset {host:#x} unaligned");
                return Err(self.corrupted(request, &text).await);
            }
            // Others may have data there that they see.
            let is_kept = has_backing
                && kind == Kind::ZeroStored
                && self
                    .with_refs(request, |refs| refs.get(host >> bits))
                    .await?
                    == uses;
            if kind == Kind::ZeroStored && !is_kept {
                given_up.push(host >> bits);
            }
            let to = match (has_backing, is_kept) {
                (false, _) => To::Nothing,
                (true, true) => To::Kept(host),
                (true, false) => To::New,
            };
            changes.push(Change { at, to });
        }
        if changes.is_empty() {
            return Ok(());
        }
        let flag = if is_own && uses == 1 { COPIED } else { 0 };
        let mut new = Shared {
            image: self,
            claimed: Vec::new(),
            uses,
            raised: Vec::new(),
        };
        let mut hosts = Vec::new();
        let wanted = changes
            .iter()
            .filter(|change| matches!(change.to, To::New))
            .count();
        while hosts.len() < wanted {
            let left = (wanted - hosts.len()) as u64;
            let claimed = self.claim(request, left, false).await?;
            let (start, bytes) = (claimed.offset(), claimed.count() << bits);
            self.check_overlap(request, start, bytes).await?;
            // Where the file ended before it gets longer.
            file.write_zeroes(start, bytes, WriteFlags::empty()).await?;
            hosts.extend(claimed.clusters().map(|cluster| cluster << bits));
            new.claimed.push(claimed);
        }
        let before = bytes_of(&words);
        let mut hosts = hosts.into_iter();
        for change in &changes {
            words[change.at] = match change.to {
                To::Nothing => 0,
                To::New => hosts.next().unwrap_or(0) | flag,
                To::Kept(host) => {
                    let bytes = geometry.cluster_size();
                    self.check_overlap(request, host, bytes).await?;
                    file.write_zeroes(host, bytes, WriteFlags::empty()).await?;
                    host | flag
                }
            };
        }
        let clusters = new.claimed.iter().flat_map(Claimed::clusters);
        for cluster in clusters.collect::<Vec<_>>() {
            self.with_refs(request, |refs| refs.set(cluster, uses))
                .await?;
            new.raised.push(cluster);
        }
        self.commit(request, Goal::Durable).await?;
        let new = Referred(Some(new));
        if let Err(error) = store(file, offset, &bytes_of(&words)).await {
            if store(file, offset, &before).await.is_ok() {
                new.give_back();
            }
            return Err(error);
        }
        drop(new);
        let discard = self.settings.lock().pass_discard_other;
        let state = &mut *self.lock();
        for _ in 0..uses {
            for cluster in &given_up {
                state.free(*cluster..*cluster + 1, discard);
            }
        }
        Ok(())
    }
}

fn bytes_of(words: &[u64]) -> Vec<u8> {
    let mut bytes = vec![0; words.len() * 8];
    for (at, word) in words.iter().enumerate() {
        put64(&mut bytes, at * 8, *word);
    }
    bytes
}

/// Writes a table, and makes that durable.
async fn store(file: Request<'_>, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
    file.write(offset, Buffer::from(bytes).source()).await?;
    file.flush().await
}
