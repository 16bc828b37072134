//! Counts of another width.
//!
//! New blocks of counts and a new table are written where nothing is, and made
//! durable; then one write of the header replaces all counts at once. Until
//! then nothing that is stored says anything of them, so whatever fails or is
//! dropped leaves the counts that there were, and no cluster lost.

use std::collections::{BTreeMap, HashSet};

use block_common::error::errno;
use block_io::{Buffer, IoError, Request};

use crate::amend::Tell;
use crate::commit::Goal;
use crate::format::Limits;
use crate::format::bytes::put64;
use crate::format::refcount::Counts;
use crate::image::{Claimed, Image};
use crate::switch::Extent;

/// Where the new counts go.
struct Plan<'i> {
    /// How many clusters a new block counts, as a power of two.
    block_bits: u32,
    counts: Counts,
    /// The clusters of the new blocks, by what they count; `None` for a block
    /// that has no place yet.
    blocks: BTreeMap<u64, Option<u64>>,
    claimed: Vec<Claimed<'i>>,
    table: Option<Claimed<'i>>,
}

impl Image {
    /// Stores all counts with `1 << order` bits each. Nothing may be in flight.
    ///
    /// # Errors
    /// `EINVAL`, in QEMU's words, for a count that is too large for that;
    /// `ENOTSUP` for a table that would be too long; otherwise those of the
    /// file. The counts are what they were.
    pub async fn change_count_width(
        &self,
        request: Request<'_>,
        order: u32,
        tell: Tell<'_>,
    ) -> Result<(), IoError> {
        self.check_sane()?;
        let _turn = self.commits.enter(0..1, true).await;
        self.commit_now(request, Goal::Durable).await?;
        let mut plan = Plan {
            block_bits: self.geometry.cluster_bits + 3 - order,
            counts: Counts::new(order),
            blocks: BTreeMap::new(),
            claimed: Vec::new(),
            table: None,
        };
        let old_blocks = self.old_blocks();
        let all = 2 * old_blocks.len() as u64 + 1;
        for (done, index) in old_blocks.iter().enumerate() {
            tell(done as u64, all);
            self.see_what_is_counted(request, *index, &mut plan).await?;
        }
        self.find_places(request, &mut plan).await?;
        let own = self.clusters_of_counts();
        let (mut done, new_blocks) = (0, plan.blocks.len() as u64);
        for (region, cluster) in &plan.blocks {
            let Some(cluster) = cluster else { continue };
            let walked = done * old_blocks.len() as u64 / new_blocks;
            tell(old_blocks.len() as u64 + walked, all);
            let block = self.new_block(request, &plan, *region, &own).await?;
            self.write_counts(request, *cluster, &block).await?;
            done += 1;
        }
        self.replace_counts(request, order, plan, own).await
    }

    /// Which blocks of counts there are.
    fn old_blocks(&self) -> Vec<u64> {
        let refs = &self.lock().refs;
        let entries = 0..refs.table.len() as u64;
        entries
            .filter(|index| refs.block_offset(*index) != 0)
            .collect()
    }

    /// The clusters that hold the counts of now, which are not needed
    /// afterwards.
    fn clusters_of_counts(&self) -> HashSet<u64> {
        let refs = &self.lock().refs;
        let bits = self.geometry.cluster_bits;
        let blocks = (0..refs.table.len() as u64).map(|index| refs.block_offset(index));
        let mut own: HashSet<u64> = blocks
            .filter(|offset| *offset != 0)
            .map(|offset| offset >> bits)
            .collect();
        own.extend(refs.stored.clone());
        own.extend(refs.moved.iter().flat_map(|plan| plan.clusters.clone()));
        own.extend(refs.passed_over.iter().cloned().flatten());
        own
    }

    /// Notes which new blocks are needed for what an old one counts.
    async fn see_what_is_counted(
        &self,
        request: Request<'_>,
        index: u64,
        plan: &mut Plan<'_>,
    ) -> Result<(), IoError> {
        let most = plan.counts.max();
        let mut too_large = None;
        self.with_refs_now(request, |refs| {
            too_large = None;
            refs.each(index, |cluster, count| {
                if count > most && too_large.is_none() {
                    too_large = Some((cluster, count));
                }
                plan.blocks.entry(cluster >> plan.block_bits).or_default();
            })
        })
        .await?;
        let Some((cluster, count)) = too_large else {
            return Ok(());
        };
        let bits = 64 - most.leading_zeros();
        let offset = cluster << self.geometry.cluster_bits;
        let text = format!(
            "Cannot decrease refcount entry width to {bits} bits: Cluster at offset {offset:#x} \
             has a refcount of {count}"
        );
        Err(IoError::refused(errno::EINVAL, text))
    }

    /// Finds places for the new blocks and their table. These have to be
    /// counted too, so there may be some more of them each time.
    async fn find_places<'i>(
        &'i self,
        request: Request<'_>,
        plan: &mut Plan<'i>,
    ) -> Result<(), IoError> {
        let per_cluster = self.geometry.cluster_size() / 8;
        loop {
            let homeless = plan.blocks.iter().filter(|(_, place)| place.is_none());
            let homeless: Vec<u64> = homeless.map(|(region, _)| *region).collect();
            if !homeless.is_empty() {
                let claimed = self
                    .claim_now(request, homeless.len() as u64, false)
                    .await?;
                for (region, cluster) in homeless.into_iter().zip(claimed.clusters()) {
                    plan.blocks.insert(region, Some(cluster));
                }
                plan.needs(&claimed);
                plan.claimed.push(claimed);
                continue;
            }
            let last = plan.blocks.keys().next_back().copied().unwrap_or(0);
            let clusters = (last + 1).div_ceil(per_cluster);
            if clusters * self.geometry.cluster_size() > Limits::REFCOUNT_TABLE_BYTES {
                return Err(IoError::refused(
                    errno::ENOTSUP,
                    "This operation would make the refcount table grow beyond the maximum size \
                     supported by QEMU, aborting",
                ));
            }
            if plan
                .table
                .as_ref()
                .is_some_and(|table| table.count() >= clusters)
            {
                return Ok(());
            }
            // The shorter one is given back when the new counts are there.
            let table = self.claim_now(request, clusters, true).await?;
            plan.needs(&table);
            if let Some(shorter) = plan.table.replace(table) {
                plan.claimed.push(shorter);
            }
        }
    }

    /// What a new block says. The counts of now are not counted in it.
    async fn new_block(
        &self,
        request: Request<'_>,
        plan: &Plan<'_>,
        region: u64,
        own: &HashSet<u64>,
    ) -> Result<Vec<u8>, IoError> {
        let first = region << plan.block_bits;
        let clusters = first..first + (1 << plan.block_bits);
        let old_bits = self.lock().refs.block_bits();
        let mut block = vec![0; self.geometry.cluster_size() as usize];
        for index in first >> old_bits..=(clusters.end - 1) >> old_bits {
            self.with_refs_now(request, |refs| {
                refs.each(index, |cluster, count| {
                    if !clusters.contains(&cluster) {
                        return;
                    }
                    let count = match own.contains(&cluster) {
                        true => count.saturating_sub(1),
                        false => count,
                    };
                    plan.counts
                        .set(&mut block, (cluster - first) as usize, count);
                })
            })
            .await?;
        }
        Ok(block)
    }

    async fn write_counts(
        &self,
        request: Request<'_>,
        cluster: u64,
        bytes: &[u8],
    ) -> Result<(), IoError> {
        let offset = cluster << self.geometry.cluster_bits;
        self.check_overlap(request, offset, bytes.len() as u64)
            .await?;
        let buffer = Buffer::from(bytes);
        request.file()?.write(offset, buffer.source()).await
    }

    /// Lets the new counts be those of the image. Only with the turn to
    /// commit.
    async fn replace_counts(
        &self,
        request: Request<'_>,
        order: u32,
        mut plan: Plan<'_>,
        own: HashSet<u64>,
    ) -> Result<(), IoError> {
        let bits = self.geometry.cluster_bits;
        let Some(table) = plan.table.take() else {
            return Ok(());
        };
        let stored = table.clusters();
        let words = (table.count() << bits) / 8;
        let mut entries = vec![0; words as usize];
        for (region, cluster) in &plan.blocks {
            entries[*region as usize] = cluster.map_or(0, |cluster| cluster << bits);
        }
        let mut bytes = vec![0; entries.len() * 8];
        for (at, entry) in entries.iter().enumerate() {
            put64(&mut bytes, at * 8, *entry);
        }
        self.write_counts(request, stored.start, &bytes).await?;
        request.file()?.flush().await?;
        let used: HashSet<u64> = plan.blocks.values().flatten().copied().collect();
        let (mut claimed, mut unused) = (vec![table], Vec::new());
        for claim in plan.claimed.drain(..) {
            match claim.clusters().any(|cluster| used.contains(&cluster)) {
                true => claimed.push(claim),
                false => unused.push(claim),
            }
        }
        let clusters = stored.end - stored.start;
        self.switch_header(request, Extent::Whole, claimed, |header| {
            header.refcount_order = order;
            header.refcount_table_offset = stored.start << bits;
            header.refcount_table_clusters = clusters as u32;
        })
        .await?;
        {
            let state = &mut *self.lock();
            state.refs.replace(plan.counts, entries, stored);
        }
        drop(unused);
        self.note_metadata();
        if self.settings.lock().pass_discard_other {
            let mut clusters: Vec<u64> = own.into_iter().collect();
            clusters.sort_unstable();
            for cluster in clusters {
                let size = self.geometry.cluster_size();
                let is_free = self
                    .with_refs_now(request, |refs| refs.get(cluster))
                    .await?
                    == 0;
                if is_free {
                    // The file need not be able to.
                    let _ = request.file()?.discard(cluster << bits, size).await;
                }
            }
        }
        Ok(())
    }
}

impl Plan<'_> {
    /// Notes that these clusters have to be counted.
    fn needs(&mut self, claimed: &Claimed<'_>) {
        for cluster in claimed.clusters() {
            self.blocks.entry(cluster >> self.block_bits).or_default();
        }
    }
}
