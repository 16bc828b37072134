//! Looking whether an image is consistent, and repairing it.
//!
//! Everything that refers to a cluster is counted and compared with what the
//! image says. Nothing may be in flight at the image.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use block_io::{CheckResult, Clusters, IoError, Repairs, Request};

use crate::commit::Goal;
use crate::format::entry::{COMPRESSED, COPIED, CompressedRange, Entry, Kind, OFFSET, SUBCLUSTERS};
use crate::format::header::Incompatible;
use crate::geometry::Geometry;
use crate::image::Image;
use crate::open::{read_bytes, read_words};

/// How many clusters are counted by a piece of the table.
const PIECE: u64 = 64;

/// How often clusters are used; only those that are take memory.
#[derive(Default)]
struct Uses {
    pieces: BTreeMap<u64, [u32; PIECE as usize]>,
    highest: u64,
}

impl Uses {
    fn add(&mut self, cluster: u64) {
        let piece = self
            .pieces
            .entry(cluster / PIECE)
            .or_insert([0; PIECE as usize]);
        let count = &mut piece[(cluster % PIECE) as usize];
        *count = count.saturating_add(1);
        self.highest = self.highest.max(cluster + 1);
    }

    /// How many of these clusters are used.
    fn count(&self, clusters: Range<u64>) -> u64 {
        let last = clusters.end.div_ceil(PIECE);
        let pieces = self.pieces.range(clusters.start / PIECE..last);
        let used = pieces.flat_map(|(number, piece)| {
            let used = piece.iter().enumerate().filter(|(_, count)| **count > 0);
            used.map(move |(at, _)| number * PIECE + at as u64)
        });
        used.filter(|cluster| clusters.contains(cluster)).count() as u64
    }

    fn get(&self, cluster: u64) -> u64 {
        let piece = self.pieces.get(&(cluster / PIECE));
        piece.map_or(0, |piece| u64::from(piece[(cluster % PIECE) as usize]))
    }
}

/// A check under way.
struct Check<'i> {
    image: &'i Image,
    geometry: Geometry,
    file_length: u64,
    uses: Uses,
    found: CheckResult,
    clusters: Clusters,
    follows: u64,
    /// Blocks of counts as the image has them.
    blocks: HashMap<u64, Vec<u8>>,
}

impl Image {
    /// Looks at everything, and repairs what it is told to.
    ///
    /// # Errors
    /// When a table cannot be read or written.
    pub async fn check(
        &self,
        request: Request<'_>,
        repairs: Repairs,
    ) -> Result<CheckResult, IoError> {
        let is_written = request.node().is_writable();
        if is_written && self.check_sane().is_ok() {
            self.commit(request, Goal::Durable).await?;
        }
        let mut found = self.look(request, repairs).await?;
        if !repairs.is_empty() && is_written {
            self.commit(request, Goal::Durable).await?;
            let repaired = found;
            // What was repaired is looked at once more, without repairs.
            found = self.look(request, Repairs::empty()).await?;
            found.corruptions_fixed = repaired.corruptions.saturating_sub(found.corruptions);
            found.leaks_fixed = repaired.leaks.saturating_sub(found.leaks);
            let marks = Incompatible::DIRTY | Incompatible::CORRUPT;
            let is_marked = self.lock().header.incompatible.intersects(marks);
            if found.corruptions == 0 && found.check_errors == 0 && is_marked {
                self.lock().header.incompatible -= marks;
                let _turn = self.commits.enter(0..1, true).await;
                self.write_header(request).await?;
                request.file()?.flush().await?;
            }
        }
        Ok(found)
    }

    async fn look(&self, request: Request<'_>, repairs: Repairs) -> Result<CheckResult, IoError> {
        let mut check = Check {
            image: self,
            geometry: self.geometry_now(),
            file_length: request.file()?.length().await?,
            uses: Uses::default(),
            found: CheckResult::default(),
            clusters: Clusters {
                total: self.geometry.clusters_of(self.size()),
                ..Clusters::default()
            },
            follows: 0,
            blocks: HashMap::new(),
        };
        check.tables(request).await?;
        check.compare(request, repairs).await?;
        check.copied(request, repairs).await?;
        let size = self.geometry.cluster_size();
        check.found.image_end = Some(check.uses.highest * size);
        check.found.clusters = Some(check.clusters);
        Ok(check.found)
    }
}

impl Check<'_> {
    /// Counts what lies in a range of the file.
    fn uses(&mut self, offset: u64, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let Some(end) = offset.checked_add(bytes) else {
            self.found.corruptions += 1;
            return;
        };
        // A file may end within its last cluster.
        if end
            > self
                .file_length
                .saturating_add(self.geometry.cluster_size())
        {
            self.found.corruptions += 1;
            return;
        }
        let bits = self.geometry.cluster_bits;
        for cluster in offset >> bits..=(end - 1) >> bits {
            self.uses.add(cluster);
        }
    }

    /// Counts everything that refers to something.
    async fn tables(&mut self, request: Request<'_>) -> Result<(), IoError> {
        let file = request.file()?;
        let size = self.geometry.cluster_size();
        self.uses(0, size);
        let (l1_offset, l1_size, snapshots, header, table, snapshot_bytes) = {
            let state = self.image.lock();
            (
                state.header.l1_offset,
                u64::from(state.header.l1_size),
                state.snapshots.clone(),
                state.header.clone(),
                state.refs.table.clone(),
                state.snapshot_bytes,
            )
        };
        self.l1(file, l1_offset, l1_size, true).await?;
        for snapshot in &snapshots {
            let l1_size = u64::from(snapshot.l1_size);
            let sane =
                snapshot.l1_offset % size == 0 && l1_size * 8 <= crate::format::Limits::L1_BYTES;
            match sane {
                true => self.l1(file, snapshot.l1_offset, l1_size, false).await?,
                false => self.found.corruptions += 1,
            }
        }
        self.uses(header.snapshots_offset, snapshot_bytes);
        let table_bytes = u64::from(header.refcount_table_clusters) * size;
        self.uses(header.refcount_table_offset, table_bytes);
        for entry in table {
            let offset = entry & OFFSET;
            if self.geometry.in_cluster(offset) != 0 {
                self.found.corruptions += 1;
            } else if offset != 0 {
                self.uses(offset, size);
            }
        }
        self.bitmaps(file, &header).await
    }

    /// Counts the bitmaps.
    async fn bitmaps(
        &mut self,
        file: Request<'_>,
        header: &crate::format::header::Header,
    ) -> Result<(), IoError> {
        let Some(known) = header.bitmaps else {
            return Ok(());
        };
        let size = self.geometry.cluster_size();
        self.uses(known.directory_offset, known.directory_size);
        let there = self.file_length.saturating_sub(known.directory_offset);
        if there < known.directory_size {
            self.found.corruptions += 1;
            return Ok(());
        }
        let text = "Failed to read bitmap directory";
        let length = known.directory_size as usize;
        let bytes = read_bytes(file, known.directory_offset, length, text).await?;
        let Ok(entries) = crate::format::bitmap::parse(&bytes, known.count, size) else {
            self.found.corruptions += 1;
            return Ok(());
        };
        for entry in entries {
            let count = u64::from(entry.table_size);
            self.uses(entry.table_offset, count * 8);
            let text = "Failed to read bitmap table";
            let there = self.file_length.saturating_sub(entry.table_offset) / 8;
            let table = read_words(
                file,
                entry.table_offset,
                count.min(there),
                self.file_length,
                text,
            )
            .await?;
            for word in table {
                match crate::format::bitmap::Part::parse(word, size) {
                    Ok(crate::format::bitmap::Part::At(offset)) => self.uses(offset, size),
                    Ok(_) => {}
                    Err(_) => self.found.corruptions += 1,
                }
            }
        }
        Ok(())
    }

    /// Counts what a first-level table refers to.
    async fn l1(
        &mut self,
        file: Request<'_>,
        offset: u64,
        entries: u64,
        active: bool,
    ) -> Result<(), IoError> {
        self.uses(offset, entries * 8);
        let text = "Could not read L1 table";
        let table = read_words(file, offset, entries, self.file_length, text).await?;
        let size = self.geometry.cluster_size();
        for entry in table {
            let offset = entry & OFFSET;
            if offset == 0 {
                continue;
            }
            self.uses(offset, size);
            if self.geometry.in_cluster(offset) != 0 {
                self.found.corruptions += 1;
                continue;
            }
            let words = read_words(file, offset, size / 8, self.file_length, text).await?;
            for entry in entries_of(&self.geometry, &words) {
                self.entry(entry, active);
            }
        }
        Ok(())
    }

    /// Counts what a second-level entry refers to.
    fn entry(&mut self, entry: Entry, active: bool) {
        let geometry = self.geometry;
        let size = geometry.cluster_size();
        if entry.is_compressed() {
            if !geometry.keeps_data || entry.word & COPIED != 0 {
                self.found.corruptions += 1;
                return;
            }
            let range = CompressedRange::of(entry.word, geometry.cluster_bits);
            self.uses(range.start, range.bytes);
            if active {
                self.clusters.compressed += 1;
                self.clusters.allocated += 1;
                self.clusters.fragmented += 1;
            }
            return;
        }
        let subclusters = match geometry.has_subclusters() {
            true => SUBCLUSTERS,
            false => 1,
        };
        let kinds = (0..subclusters)
            .map(|index| entry.kind(geometry.has_subclusters(), index, geometry.keeps_data));
        let kinds: Vec<Kind> = kinds.collect();
        if kinds.contains(&Kind::Invalid)
            || (geometry.version < 3 && kinds.iter().any(|kind| kind.is_zero()))
        {
            self.found.corruptions += 1;
            return;
        }
        if entry.host() == 0 && (geometry.keeps_data || entry.word & COPIED == 0) {
            return;
        }
        if geometry.in_cluster(entry.host()) != 0 {
            self.found.corruptions += 1;
            return;
        }
        if active {
            self.clusters.allocated += 1;
            if self.follows != 0 && entry.host() != self.follows {
                self.clusters.fragmented += 1;
            }
            self.follows = entry.host() + size;
        }
        if geometry.keeps_data {
            self.uses(entry.host(), size);
        }
    }

    /// Looks whether what may be written in place is used once, and the other
    /// way round.
    async fn copied(&mut self, request: Request<'_>, repairs: Repairs) -> Result<(), IoError> {
        let repair = repairs.contains(Repairs::ERRORS);
        let geometry = self.geometry;
        let entries = u64::from(self.image.lock().header.l1_size);
        for index in 0..entries {
            let entry = self.image.l1.get(index);
            let offset = entry & OFFSET;
            if offset == 0 || geometry.in_cluster(offset) != 0 {
                continue;
            }
            let own = self.is_own(request, offset).await?;
            if own != (entry & COPIED != 0) {
                self.found.corruptions += 1;
                if repair {
                    self.image
                        .l1
                        .set(index, offset | if own { COPIED } else { 0 });
                    self.image.lock().l1_dirty.insert(index);
                }
            }
            let text = "Could not read L2 table";
            let size = geometry.cluster_size();
            let words =
                read_words(request.file()?, offset, size / 8, self.file_length, text).await?;
            for (at, entry) in entries_of(&geometry, &words).enumerate() {
                let counted = entry.word & COMPRESSED == 0
                    && entry.host() != 0
                    && geometry.keeps_data
                    && geometry.in_cluster(entry.host()) == 0;
                let copied = entry.word & COPIED != 0;
                if !counted || self.is_own(request, entry.host()).await? == copied {
                    continue;
                }
                self.found.corruptions += 1;
                if repair && own {
                    let first = (index << geometry.l2_bits) + at as u64;
                    let flip = |_, old: Entry, _: &mut _| Entry {
                        word: old.word ^ COPIED,
                        ..old
                    };
                    let first = first << geometry.cluster_bits;
                    self.image.change_entries(request, first, 1, flip).await?;
                }
            }
        }
        Ok(())
    }

    /// Whether the image counts one use of the cluster at `offset`.
    async fn is_own(&mut self, request: Request<'_>, offset: u64) -> Result<bool, IoError> {
        let cluster = offset >> self.geometry.cluster_bits;
        Ok(self.counted(request, cluster).await? == 1)
    }

    /// How often the image counts a cluster. What nothing counts is not used.
    async fn counted(&mut self, request: Request<'_>, cluster: u64) -> Result<u64, IoError> {
        let bits = self.geometry.block_bits;
        let (index, at) = (cluster >> bits, (cluster & ((1 << bits) - 1)) as usize);
        if let Some(block) = self.blocks.get(&index) {
            return Ok(self.geometry.counts.get(block, at));
        }
        let offset = self.image.lock().refs.block_offset(index);
        if offset == 0 || self.geometry.in_cluster(offset) != 0 {
            return Ok(0);
        }
        let block = self
            .image
            .with_refs(request, |refs| {
                refs.get(cluster)?;
                let block = refs.blocks.get(&index);
                Ok(block.map(|block| block.data.clone()).unwrap_or_default())
            })
            .await?;
        let count = match block.is_empty() {
            true => 0,
            false => self.geometry.counts.get(&block, at),
        };
        self.blocks.insert(index, block);
        Ok(count)
    }

    /// The first cluster from `cluster` on that the table has a block of counts
    /// for.
    fn next_counted(&self, cluster: u64) -> u64 {
        let bits = self.geometry.block_bits;
        let index = cluster >> bits;
        let table = &self.image.lock().refs.table;
        let is_block = |entry: &u64| {
            let offset = entry & OFFSET;
            offset != 0 && self.geometry.in_cluster(offset) == 0
        };
        let rest = usize::try_from(index)
            .ok()
            .and_then(|index| table.get(index..));
        match rest.unwrap_or_default().iter().position(is_block) {
            None => u64::MAX,
            Some(0) => cluster,
            Some(more) => (index + more as u64) << bits,
        }
    }

    /// Compares the counts with what was found.
    async fn compare(&mut self, request: Request<'_>, repairs: Repairs) -> Result<(), IoError> {
        // What is beyond the end of the file is no cluster, whatever the
        // table says.
        let there = self.geometry.clusters_of(self.file_length);
        let end = there.max(self.uses.highest);
        let mut next = 0;
        while next < end {
            let counted = self.next_counted(next).min(end);
            // Nothing is counted up to there, however far that is.
            self.found.corruptions += self.uses.count(next..counted);
            if counted == end {
                break;
            }
            let cluster = counted;
            next = cluster + 1;
            let real = self.uses.get(cluster);
            let said = self.counted(request, cluster).await?;
            if said == real {
                continue;
            }
            let is_leak = said > real;
            self.found.leaks += u64::from(is_leak);
            self.found.corruptions += u64::from(!is_leak);
            let wanted = match is_leak {
                true => Repairs::LEAKS,
                false => Repairs::ERRORS,
            };
            let index = cluster >> self.geometry.block_bits;
            let has_block = self
                .blocks
                .get(&index)
                .is_some_and(|block| !block.is_empty());
            if !repairs.contains(wanted) || !has_block {
                continue;
            }
            let count = real.min(self.geometry.counts.max());
            self.image
                .with_refs(request, |refs| refs.set(cluster, count))
                .await?;
            if let Some(block) = self.blocks.get_mut(&index) {
                let at = cluster & ((1 << self.geometry.block_bits) - 1);
                self.geometry.counts.set(block, at as usize, count);
            }
        }
        Ok(())
    }
}

/// The entries of a second-level table.
pub(crate) fn entries_of<'w>(
    geometry: &Geometry,
    words: &'w [u64],
) -> impl Iterator<Item = Entry> + 'w {
    words
        .chunks_exact(geometry.words_per_entry)
        .map(|words| Entry {
            word: words[0],
            bitmap: words.get(1).copied().unwrap_or(0),
        })
}
