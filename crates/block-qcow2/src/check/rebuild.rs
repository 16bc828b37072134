//! Making the counts anew, where blocks of them are lost.
//!
//! The new blocks and the new table are written where nothing is, neither the
//! old ones; then one write of a few bytes of the header makes them count.
//! Whatever happens before that, the image is what it was.

use std::collections::BTreeSet;

use block_common::error::errno;
use block_io::IoError;

use super::Check;
use super::finding::Qcow2Finding;
use super::tables::BLOCK_OFFSET;
use crate::format::Limits;
use crate::format::bytes::{put32, put64};
use crate::format::entry::OFFSET;

/// Where the header says where the table is, in bytes.
const IN_HEADER: u64 = 48;

/// Where the new structures are going to be.
struct Plan {
    table: Vec<u64>,
    /// Clusters that nothing counts and that are not free, in order.
    avoid: Vec<u64>,
}

impl Check<'_> {
    /// Writes new counts, and lets the header refer to them.
    pub(super) async fn rebuild(&mut self) -> Result<(), IoError> {
        self.tell(&Qcow2Finding::Rebuilding);
        let rebuilt = self.try_rebuild().await;
        if let Err((what, error)) = &rebuilt {
            let text = format!("{what}: {}", super::errno_words(error));
            self.tell(&Qcow2Finding::RebuildFailed(text));
        }
        rebuilt.map_err(|(_, error)| error)
    }

    async fn try_rebuild(&mut self) -> Result<(), (&'static str, IoError)> {
        let mut plan = Plan {
            table: Vec::new(),
            avoid: self.old_clusters(),
        };
        let mut dirty = BTreeSet::new();
        let all = 0..self.uses.clusters;
        self.plan_blocks(&mut plan, all.start, all.end, &mut dirty)?;
        let bits = self.geometry.cluster_bits;
        // The table has to be counted, which can take one more block and so a
        // longer table.
        let first = loop {
            let entries = plan.table.len();
            let bytes = entries as u64 * 8;
            let clusters = self.geometry.clusters_of(bytes);
            let mut free = 0;
            let first = self.take(clusters, &mut free, &plan.avoid);
            self.plan_blocks(&mut plan, first, first + clusters, &mut dirty)?;
            if plan.table.len() == entries {
                break first;
            }
            for cluster in first..first + clusters {
                self.uses.forget(cluster);
            }
        };
        for index in dirty {
            let bytes = self.uses.piece(index).unwrap_or_default().to_vec();
            let written = self.write(plan.table[index as usize], &bytes).await;
            written.map_err(|error| ("ERROR writing refblock", error))?;
        }
        let mut bytes = vec![0; plan.table.len() * 8];
        for (at, entry) in plan.table.iter().enumerate() {
            put64(&mut bytes, at * 8, *entry);
        }
        let offset = first << bits;
        let written = self.write(offset, &bytes).await;
        written.map_err(|error| ("ERROR writing reftable", error))?;
        let clusters = self.geometry.clusters_of(bytes.len() as u64) as u32;
        let switched = self.switch(offset, clusters).await;
        switched.map_err(|error| ("ERROR setting reftable", error))?;
        self.table = plan.table;
        Ok(())
    }

    /// Clusters of tables as they are that may not be counted, in order: the
    /// old structures, and what is behind the end of the file.
    fn old_clusters(&self) -> Vec<u64> {
        let bits = self.geometry.cluster_bits;
        let first = self.header.refcount_table_offset >> bits;
        let clusters = u64::from(self.header.refcount_table_clusters);
        let blocks = self.table.iter().map(|entry| entry & BLOCK_OFFSET);
        let blocks = blocks.filter(|offset| *offset != 0).flat_map(|offset| {
            let last = offset.saturating_add(self.geometry.cluster_size() - 1) >> bits;
            offset >> bits..=last
        });
        let tables = self.l1.iter().map(|entry| (entry & OFFSET) >> bits);
        let tables = tables.filter(|cluster| *cluster >= self.uses.clusters);
        let mut old: Vec<u64> = (first..first + clusters)
            .chain(blocks)
            .chain(tables)
            .collect();
        old.sort_unstable();
        old.dedup();
        old
    }

    /// Takes `count` clusters in a row that nothing uses, and counts them.
    /// `free` is where to look from on, and where the first free one is.
    fn take(&mut self, count: u64, free: &mut u64, avoid: &[u64]) -> u64 {
        let mut start = *free;
        let mut is_first = true;
        let found = loop {
            // Each round goes on behind something that is used.
            let end = start.saturating_add(count);
            let used = self.uses.next_used(start, self.uses.clusters);
            let old = avoid.get(avoid.partition_point(|cluster| *cluster < start));
            let stop = used.into_iter().chain(old.copied()).min();
            let stop = stop.unwrap_or(u64::MAX);
            if is_first && stop > start {
                *free = start;
                is_first = false;
            }
            match stop < end {
                true => start = stop + 1,
                // Behind what there is the file is made longer.
                false => break start,
            }
        };
        for cluster in found..found + count {
            // Nothing uses it, so it can be counted.
            let _ = self.uses.add(cluster);
        }
        found
    }

    /// Finds places for blocks that count the clusters from `from` to `to`.
    fn plan_blocks(
        &mut self,
        plan: &mut Plan,
        from: u64,
        mut to: u64,
        dirty: &mut BTreeSet<u64>,
    ) -> Result<(), (&'static str, IoError)> {
        let bits = self.geometry.block_bits;
        let mut free = 0;
        let mut next = from;
        while let Some(cluster) = self.uses.next_used(next, to) {
            let index = cluster >> bits;
            let start = index << bits;
            let is_there = |table: &[u64]| table.get(index as usize).is_some_and(|at| *at != 0);
            if !is_there(&plan.table) {
                // A block that counts itself needs no other one.
                free = free.max(start);
                let taken = self.take(1, &mut free, &plan.avoid);
                // One that had to go behind the end is to be counted as well.
                to = to.max(taken + 1);
                if index as usize >= plan.table.len() {
                    let bytes = ((index + 1) * 8).next_multiple_of(self.geometry.cluster_size());
                    if bytes > Limits::REFCOUNT_TABLE_BYTES {
                        let error = IoError::from_errno(errno::EFBIG);
                        return Err(("ERROR allocating reftable", error));
                    }
                    plan.table.resize(bytes as usize / 8, 0);
                }
                plan.table[index as usize] = taken << self.geometry.cluster_bits;
            }
            dirty.insert(index);
            next = start + (1 << bits);
        }
        Ok(())
    }

    /// Makes sure that the header which was read is the one that is stored.
    pub(super) async fn settle(&mut self) -> Result<(), IoError> {
        let header = &self.header;
        let (offset, clusters) = (header.refcount_table_offset, header.refcount_table_clusters);
        self.store_place(offset, clusters).await
    }

    /// Lets the header say where the table is. While it is not known which
    /// header is stored the clusters of both tables are not free: the image is
    /// not written until a repair has found out.
    async fn switch(&mut self, offset: u64, clusters: u32) -> Result<(), IoError> {
        self.file.flush().await?;
        self.store_place(offset, clusters).await?;
        for header in [&mut self.header, &mut self.image.lock().header] {
            header.refcount_table_offset = offset;
            header.refcount_table_clusters = clusters;
        }
        self.file_length = self.file.length().await?;
        let length = self.geometry.clusters_of(self.file_length);
        self.uses.clusters = self.uses.clusters.max(length);
        Ok(())
    }

    async fn store_place(&mut self, offset: u64, clusters: u32) -> Result<(), IoError> {
        let mut bytes = [0; 12];
        put64(&mut bytes, 0, offset);
        put32(&mut bytes, 8, clusters);
        self.is_unsure = true;
        self.write(IN_HEADER, &bytes).await?;
        self.file.flush().await?;
        self.is_unsure = false;
        Ok(())
    }
}
