//! Storing what is dirty, in an order that survives a crash.
//!
//! 1. The counts, and before that the data itself and second-level tables
//!    that are new: nothing stored refers to them yet. A flush.
//! 2. Where new blocks of counts are. A flush, if there are any. A block may
//!    be counted by another new one, which is stored, and durable, before.
//! 3. Entries of second-level and first-level tables. A flush.
//! 4. Counts of clusters that these gave up. They may be stored whenever.
//!
//! What is stored in a step was copied before the first one, so nothing of a
//! later change is stored too early. Cut off anywhere, with any part of the
//! writes since the last flush, there is what was there before or after, and
//! clusters that are counted although nothing uses them.
//!
//! With lazy counts the stored header says before that they may be wrong. From
//! then on counts are stored when their cache has no room, when a block of them
//! is new, and before the header says that they hold again; who opens the image
//! before that counts everything anew.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use block_io::{Buffer, IoError, Request};

use crate::dirty::Dirty;
use crate::format::bytes::put64;
use crate::format::header::{Compatible, Incompatible};
use crate::image::{Freed, Image, MANY, Standing, State};
use crate::options::OverlapChecks;
use crate::refs::{NewTable, Refs};
use crate::steps::step;
use crate::switch::Extent;

/// How far to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Goal {
    /// Everything is where it has to be, for the host to store it.
    Written,
    /// And durable. Counts of an image that is marked as dirty may be behind.
    Durable,
    /// And durable with all counts, so that no mark is needed.
    Clean,
}

/// What is to be stored, as it was at one moment. What is not stored when this
/// is dropped is dirty again.
struct Batch<'i> {
    image: &'i Image,
    blocks: Vec<(u64, Dirty)>,
    block_data: Vec<Piece>,
    table: BTreeSet<u64>,
    /// In the order in which they are to become durable.
    table_data: Vec<Vec<Piece>>,
    moved: Option<(NewTable, Vec<u8>)>,
    slices: Vec<(usize, Dirty)>,
    l1: BTreeSet<u64>,
    mapping: Vec<Piece>,
    freed: Vec<Freed>,
}

/// Bytes, and where they go.
struct Piece {
    offset: u64,
    bytes: Vec<u8>,
    /// What it is a part of.
    of: OverlapChecks,
}

impl Image {
    /// Stores everything.
    ///
    /// # Errors
    /// What could not be stored is kept, and stored next time.
    pub async fn commit(&self, request: Request<'_>, goal: Goal) -> Result<(), IoError> {
        let _turn = self.commits.enter(0..1, true).await;
        self.commit_now(request, goal).await
    }

    /// As [`commit`](Image::commit), for whoever has the turn.
    pub async fn commit_now(&self, request: Request<'_>, goal: Goal) -> Result<(), IoError> {
        self.check_sane()?;
        self.settle_header(request).await?;
        if goal == Goal::Clean {
            let state = &mut *self.lock();
            let again = std::mem::take(&mut state.uncounted);
            if !again.is_empty() {
                state.released.push_front((0, again));
            }
        }
        self.give_back(request).await?;
        if goal != Goal::Clean {
            self.mark_dirty(request).await?;
        }
        let file = request.file()?;
        let mut batch = self.take_batch(request, goal);
        if batch.is_empty() {
            return match goal {
                Goal::Durable | Goal::Clean => self.flush_data(request).await,
                Goal::Written => Ok(()),
            };
        }
        self.check_pieces(request, &batch.block_data).await?;
        for pieces in &batch.table_data {
            self.check_pieces(request, pieces).await?;
        }
        self.check_pieces(request, &batch.mapping).await?;
        for event in batch.steps_of_counts() {
            step(request, event).await;
        }
        write_all(file, &batch.block_data).await?;
        let refers = batch.refers();
        if refers {
            self.flush_data(request).await?;
        }
        if let Some((plan, data)) = &batch.moved {
            self.move_table(request, plan, data).await?;
        } else if !batch.table.is_empty() {
            step(request, "refblock_alloc_hookup").await;
            for pieces in &batch.table_data {
                write_all(file, pieces).await?;
                file.flush().await?;
            }
        }
        batch.counts_are_stored();
        if !batch.l1.is_empty() {
            step(request, "l1_update").await;
        }
        if !batch.slices.is_empty() {
            step(request, "l2_update").await;
        }
        write_all(file, &batch.mapping).await?;
        if goal != Goal::Written {
            match refers {
                true => file.flush().await?,
                false => self.flush_data(request).await?,
            }
            batch.is_durable();
            drop(batch);
            // What has become free is free in the file too.
            self.give_back(request).await?;
            let mut batch = Batch::new(self);
            {
                let state = &mut *self.lock();
                if !state.counts_may_wait(goal) {
                    batch.take_blocks(state);
                }
            }
            for event in batch.steps_of_counts() {
                step(request, event).await;
            }
            write_all(file, &batch.block_data).await?;
            batch.counts_are_stored();
        } else {
            batch.is_written();
        }
        Ok(())
    }

    /// Lets the stored header say that counts may be wrong, if they are to be
    /// lazy and something is to be stored (`qcow2_mark_dirty`).
    async fn mark_dirty(&self, request: Request<'_>) -> Result<(), IoError> {
        let lazy = self.settings.lock().lazy_refcounts;
        {
            let state = self.lock();
            // What was dirty when it was opened has to be repaired first.
            let stays = state.header.incompatible.contains(Incompatible::DIRTY);
            if !lazy || stays || state.header.version < 3 || !state.has_news() {
                return Ok(());
            }
        }
        self.switch_header(request, Extent::Features, Vec::new(), |header| {
            header.incompatible |= Incompatible::DIRTY;
        })
        .await?;
        self.lock().is_behind = true;
        Ok(())
    }

    /// Stores everything, all counts too, and takes back that they may be
    /// wrong (`qcow2_mark_clean`). An image that was dirty when it was opened
    /// stays so until it is repaired.
    ///
    /// # Errors
    /// The image is marked still.
    pub async fn mark_clean(&self, request: Request<'_>) -> Result<(), IoError> {
        if self.standing.is(Standing::HALTED) {
            // Nothing was written, and it is to be repaired again.
            return Ok(());
        }
        let _turn = self.commits.enter(0..1, true).await;
        self.commit_now(request, Goal::Clean).await?;
        if !self.lock().is_behind {
            return Ok(());
        }
        self.switch_header(request, Extent::Features, Vec::new(), |header| {
            header.incompatible -= Incompatible::DIRTY;
        })
        .await?;
        self.lock().is_behind = false;
        Ok(())
    }

    /// Lets counts be lazy from now on, or not, also when the image is opened
    /// next.
    ///
    /// # Errors
    /// It says what it said.
    pub async fn set_lazy(&self, request: Request<'_>, lazy: bool) -> Result<(), IoError> {
        if !lazy {
            self.settings.lock().lazy_refcounts = false;
            self.mark_clean(request).await?;
        }
        let _turn = self.commits.enter(0..1, true).await;
        self.switch_header(request, Extent::Whole, Vec::new(), |header| {
            header.compatible.set(Compatible::LAZY_REFCOUNTS, lazy);
        })
        .await?;
        self.settings.lock().lazy_refcounts = lazy;
        Ok(())
    }

    /// Refuses to store a table where something else is.
    async fn check_pieces(&self, request: Request<'_>, pieces: &[Piece]) -> Result<(), IoError> {
        for piece in pieces {
            let bytes = piece.bytes.len() as u64;
            self.check_metadata(request, piece.offset, bytes, piece.of)
                .await?;
        }
        Ok(())
    }

    /// Makes data durable, wherever it is.
    pub async fn flush_data(&self, request: Request<'_>) -> Result<(), IoError> {
        if !self.geometry.keeps_data {
            request.child("data-file")?.flush().await?;
        }
        request.file()?.flush().await
    }

    /// Stores what is dirty so that places become free.
    pub async fn make_room(&self, request: Request<'_>) -> Result<(), IoError> {
        self.commit(request, Goal::Written).await
    }

    /// Writes the longer table of blocks, and lets the header say where it is.
    async fn move_table(
        &self,
        request: Request<'_>,
        plan: &NewTable,
        data: &[u8],
    ) -> Result<(), IoError> {
        let offset = plan.clusters.start << self.geometry.cluster_bits;
        let file = request.file()?;
        step(request, "refblock_alloc_write_table").await;
        file.write(offset, Buffer::from(data).source()).await?;
        file.flush().await?;
        step(request, "refblock_alloc_switch_table").await;
        let clusters = (plan.clusters.end - plan.clusters.start) as u32;
        for cluster in plan.clusters.clone() {
            self.filter.add(cluster);
        }
        self.switch_header(request, Extent::Fields, Vec::new(), |header| {
            header.refcount_table_offset = offset;
            header.refcount_table_clusters = clusters;
        })
        .await?;
        let state = &mut *self.lock();
        state.unused.append(&mut state.refs.passed_over);
        let old = std::mem::replace(&mut state.refs.stored, plan.clusters.clone());
        if old != plan.clusters {
            state.unused.push(old);
        }
        Ok(())
    }

    /// Writes the header as it is now.
    pub async fn write_header(&self, request: Request<'_>) -> Result<(), IoError> {
        let _turn = self.headers.enter(0..1, true).await;
        let bytes = {
            let state = &mut *self.lock();
            if state.is_behind {
                // Whoever has taken it away has not stored the counts.
                state.header.incompatible |= Incompatible::DIRTY;
            }
            state.header.write()?
        };
        let mut buffer = Buffer::zeroed(
            self.geometry
                .cluster_size()
                .min(65536)
                .max(bytes.len() as u64) as usize,
        );
        buffer.as_mut_slice()[..bytes.len()].copy_from_slice(&bytes);
        request.file()?.write(0, buffer.source()).await
    }

    /// Marks the image, which nobody writes to any more. Who stores something
    /// may find that the image is corrupt, so this does not take the turn to
    /// commit; the header may be one whose [switch](Image::switch_header) is
    /// under way, and everything that refers to is durable.
    pub async fn mark_corrupt(&self, request: Request<'_>) -> Result<(), IoError> {
        if self.lock().header.version < 3 {
            return Ok(());
        }
        self.lock().header.incompatible |= Incompatible::CORRUPT;
        self.write_header(request).await?;
        request.file()?.flush().await
    }

    /// Takes a use away from clusters that nothing stored uses any more and
    /// that nobody may still be about to read or write. Those whose counts
    /// cannot be read stay counted.
    ///
    /// # Errors
    /// When the image turns out to be corrupt.
    async fn give_back(&self, request: Request<'_>) -> Result<(), IoError> {
        loop {
            let taken = {
                let mut state = self.lock();
                let over = |(epoch, _): &(u64, Vec<Freed>)| self.grace.is_over(*epoch);
                match state.unused.pop() {
                    Some(clusters) => vec![Freed {
                        clusters,
                        discard: false,
                    }],
                    None if state.released.front().is_some_and(over) => state
                        .released
                        .pop_front()
                        .map_or(Vec::new(), |(_, freed)| freed),
                    None => return Ok(()),
                }
            };
            self.decrease_all(request, taken).await?;
        }
    }

    /// Takes a use away from each of these clusters, as far as their counts
    /// can be read. Where it was the last, the file may forget them before
    /// they are free.
    async fn decrease_all(&self, request: Request<'_>, taken: Vec<Freed>) -> Result<(), IoError> {
        let mut left = Left {
            image: self,
            freed: taken,
        };
        while let Some(freed) = left.freed.last_mut() {
            if freed.clusters.is_empty() {
                left.freed.pop();
                continue;
            }
            let all = freed.clusters.clone();
            let look = |refs: &mut Refs| {
                let (end, count) = refs.same(all.clone())?;
                if count == 1 {
                    // What is added from now on would go with the rest.
                    refs.end_compressed(&(all.start..end));
                }
                Ok((end, count))
            };
            let Ok((end, count)) = self.with_refs_now(request, look).await else {
                // Nobody is kept from storing what he has by this.
                self.check_sane()?;
                self.leave_counted(freed);
                continue;
            };
            let run = all.start..end;
            step(request, "cluster_free").await;
            if count == 1 && freed.discard {
                let bits = self.geometry.cluster_bits;
                let bytes = (end - run.start) << bits;
                // The file need not be able to.
                let _ = request.file()?.discard(run.start << bits, bytes).await;
            }
            // A count that is zero already was wrong before; a check says so.
            if count > 0 {
                // It may have become more meanwhile.
                let decrease = |refs: &mut Refs| refs.decrease(run.clone());
                if self.with_refs_now(request, decrease).await.is_err() {
                    self.check_sane()?;
                    self.leave_counted(freed);
                    continue;
                }
            }
            freed.clusters.start = end;
        }
        Ok(())
    }

    /// Skips the first of these clusters, which one block counts that cannot
    /// be read. They are looked at once more before the image is closed; what
    /// is too much to be kept until then is leaked.
    fn leave_counted(&self, freed: &mut Freed) {
        let state = &mut *self.lock();
        let per_block = 1 << state.refs.block_bits();
        let start = freed.clusters.start;
        let end = (start | (per_block - 1)) + 1;
        let end = end.min(freed.clusters.end);
        if state.uncounted.len() < MANY {
            state.uncounted.push(Freed {
                clusters: start..end,
                discard: freed.discard,
            });
        }
        freed.clusters.start = end;
    }

    fn take_batch(&self, request: Request<'_>, goal: Goal) -> Batch<'_> {
        let mut batch = Batch::new(self);
        let slices = self.slices.get(request);
        let state = &mut *self.lock();
        if !state.counts_may_wait(goal) {
            batch.take_counts(state);
        }
        batch.freed = std::mem::take(&mut state.freed);
        for (place, dirty) in state.places.take() {
            let key = slices.key(place);
            let Some(offset) = key.and_then(|key| self.slice_offset(request, key)) else {
                // Its table was given up while it was being stored.
                state.places.put(place);
                continue;
            };
            let words = slices.contents(place);
            for range in dirty.ranges(words.len() * 8) {
                let words = &words[range.start / 8..range.end / 8];
                let bytes = words
                    .iter()
                    .flat_map(|word| word.load(Ordering::Relaxed).to_be_bytes());
                batch.mapping.push(Piece {
                    offset: offset + range.start as u64,
                    bytes: bytes.collect(),
                    of: OverlapChecks::ACTIVE_L2,
                });
            }
            batch.slices.push((place, dirty));
        }
        batch.l1 = std::mem::take(&mut state.l1_dirty);
        for index in &batch.l1 {
            batch.mapping.push(Piece {
                offset: state.header.l1_offset + index * 8,
                bytes: self.l1.get(*index).to_be_bytes().to_vec(),
                of: OverlapChecks::ACTIVE_L1,
            });
        }
        batch
    }
}

impl State {
    /// Something is to be stored that the stored counts do not know of.
    fn has_news(&self) -> bool {
        !self.l1_dirty.is_empty()
            || !self.freed.is_empty()
            || self.refs.is_dirty()
            || !self.places.are_stored()
    }

    /// Counts need not be stored: the header says so, no block of them is new,
    /// and their cache has room.
    fn counts_may_wait(&self, goal: Goal) -> bool {
        goal == Goal::Durable
            && self.counts_are_lazy()
            && self.refs.blocks.len() <= self.refs.capacity()
    }

    /// Stored counts may be behind those in memory.
    pub fn counts_are_lazy(&self) -> bool {
        self.is_behind && self.refs.table_dirty.is_empty() && self.refs.moved.is_none()
    }
}

impl<'i> Batch<'i> {
    fn new(image: &'i Image) -> Batch<'i> {
        Batch {
            image,
            blocks: Vec::new(),
            block_data: Vec::new(),
            table: BTreeSet::new(),
            table_data: Vec::new(),
            moved: None,
            slices: Vec::new(),
            l1: BTreeSet::new(),
            mapping: Vec::new(),
            freed: Vec::new(),
        }
    }

    /// The counts, as they are now.
    fn take_blocks(&mut self, state: &mut State) {
        let batch = self;
        let refs = &mut state.refs;
        let dirty = refs
            .blocks
            .iter()
            .filter(|(_, block)| !block.dirty.is_clean());
        let dirty: Vec<u64> = dirty.map(|(index, _)| *index).collect();
        for index in dirty {
            let offset = refs.block_offset(index);
            let Some(block) = refs.blocks.get_mut(&index) else {
                continue;
            };
            let parts = std::mem::take(&mut block.dirty);
            block.writing = true;
            for range in parts.ranges(block.data.len()) {
                batch.block_data.push(Piece {
                    offset: offset + range.start as u64,
                    bytes: block.data[range].to_vec(),
                    of: OverlapChecks::REFCOUNT_BLOCK,
                });
            }
            batch.blocks.push((index, parts));
        }
    }

    /// The counts, as they are now, and where they are.
    fn take_counts(&mut self, state: &mut State) {
        self.take_blocks(state);
        let batch = self;
        let refs = &mut state.refs;
        batch.table = std::mem::take(&mut refs.table_dirty);
        if let Some(plan) = refs.moved.take() {
            let mut data = vec![0; refs.table.len() * 8];
            for (at, entry) in refs.table.iter().enumerate() {
                put64(&mut data, at * 8, *entry);
            }
            batch.moved = Some((plan, data));
        } else {
            let table_offset = refs.stored.start << batch.image.geometry.cluster_bits;
            let mut left = batch.table.clone();
            while !left.is_empty() {
                let now = refs.counted_without(&left);
                let pieces = now.iter().map(|index| Piece {
                    offset: table_offset + index * 8,
                    bytes: refs.table[*index as usize].to_be_bytes().to_vec(),
                    of: OverlapChecks::REFCOUNT_TABLE,
                });
                batch.table_data.push(pieces.collect());
                left.retain(|index| !now.contains(index));
            }
        }
    }
}

async fn write_all(file: Request<'_>, pieces: &[Piece]) -> Result<(), IoError> {
    for piece in pieces {
        let buffer = Buffer::from(&*piece.bytes);
        file.write(piece.offset, buffer.source()).await?;
    }
    Ok(())
}

impl Batch<'_> {
    /// What a node for debugging hears of before the counts are written.
    fn steps_of_counts(&self) -> &'static [&'static str] {
        match (self.block_data.is_empty(), &self.moved) {
            (_, Some(_)) => &[
                "reftable_grow",
                "refblock_alloc_write",
                "refblock_alloc_write_blocks",
                "refblock_update_part",
            ],
            (true, None) => &[],
            (false, None) if self.table.is_empty() => &["refblock_update_part"],
            (false, None) => &["refblock_alloc_write", "refblock_update_part"],
        }
    }

    fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.moved.is_none() && !self.refers()
    }

    /// Whether something of it refers to clusters that have to be counted.
    fn refers(&self) -> bool {
        !self.table.is_empty()
            || self.moved.is_some()
            || !self.slices.is_empty()
            || !self.l1.is_empty()
            || !self.freed.is_empty()
    }

    /// The counts need not be stored again.
    fn counts_are_stored(&mut self) {
        let mut state = self.image.lock();
        for (index, _) in self.blocks.drain(..) {
            if let Some(block) = state.refs.blocks.get_mut(&index) {
                block.writing = false;
            }
        }
        state.refs.trim();
        self.table.clear();
        self.moved = None;
    }

    /// The mapping need not be written again; what it gave up may still be
    /// needed after a crash.
    fn is_written(&mut self) {
        let mut state = self.image.lock();
        for (place, _) in self.slices.drain(..) {
            state.places.put(place);
        }
        self.l1.clear();
    }

    /// Nothing stored uses what was given up.
    fn is_durable(&mut self) {
        self.is_written();
        let freed = std::mem::take(&mut self.freed);
        if !freed.is_empty() {
            let epoch = self.image.grace.now();
            self.image.lock().released.push_back((epoch, freed));
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let state = &mut *self.image.lock();
        for (index, dirty) in self.blocks.drain(..) {
            if let Some(block) = state.refs.blocks.get_mut(&index) {
                block.dirty.join(dirty);
                block.writing = false;
            }
        }
        state.refs.table_dirty.append(&mut self.table);
        match self.moved.take() {
            Some((plan, _)) if state.refs.moved.is_none() => state.refs.moved = Some(plan),
            Some((plan, _)) if state.refs.stored != plan.clusters => {
                // A header that was perhaps stored refers to it.
                match &mut state.unsure {
                    Some(unsure) => unsure.hold(plan.clusters),
                    None => state.unused.push(plan.clusters),
                }
            }
            _ => {}
        }
        for (place, dirty) in self.slices.drain(..) {
            state.places.put_back(place, dirty);
        }
        state.l1_dirty.append(&mut self.l1);
        state.freed.append(&mut self.freed);
    }
}

/// What has not been given back when this is dropped waits on.
struct Left<'i> {
    image: &'i Image,
    freed: Vec<Freed>,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        let freed = std::mem::take(&mut self.freed);
        if !freed.is_empty() {
            self.image.lock().released.push_front((0, freed));
        }
    }
}
