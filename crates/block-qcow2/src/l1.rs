//! The first-level table in memory: read without a lock, and able to grow.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::format::entry::OFFSET;

/// How many entries the first piece has; each further one has twice as many.
const FIRST: usize = 1024;

/// Enough pieces for the longest table that is supported (4 Mi entries).
const PIECES: usize = 13;

/// A table whose pieces stay where they are.
#[derive(Debug, Default)]
pub(crate) struct L1 {
    pieces: [OnceLock<Box<[AtomicU64]>>; PIECES],
}

/// Which piece an entry is in, and where.
fn place(index: usize) -> (usize, usize) {
    let piece = ((index / FIRST) + 1).ilog2() as usize;
    (piece, index - FIRST * ((1 << piece) - 1))
}

impl L1 {
    pub fn new(entries: &[u64]) -> L1 {
        let table = L1::default();
        for (index, entry) in entries.iter().enumerate() {
            if *entry != 0 {
                table.set(index as u64, *entry);
            }
        }
        table
    }

    /// The entry, 0 where the table does not reach.
    #[inline]
    pub fn get(&self, index: u64) -> u64 {
        // Most tables have no second piece.
        if let Some(entries) = self.pieces[0].get()
            && let Some(entry) = entries.get(index as usize)
        {
            return entry.load(Ordering::Acquire);
        }
        let (piece, at) = place(index as usize);
        let entries = self.pieces.get(piece).and_then(OnceLock::get);
        entries.map_or(0, |entries| entries[at].load(Ordering::Acquire))
    }

    /// Where the second-level table is, 0 for nowhere.
    #[inline]
    pub fn table(&self, index: u64) -> u64 {
        self.get(index) & OFFSET
    }

    /// Where second-level tables are, of those that the first `count` entries
    /// say. Pieces without any are passed over.
    pub fn tables(&self, count: u64) -> impl Iterator<Item = u64> {
        let pieces = self.pieces.iter().enumerate();
        let entries = pieces.flat_map(move |(piece, entries)| {
            let first = (FIRST * ((1 << piece) - 1)) as u64;
            let entries = entries.get().map_or(&[][..], |entries| entries);
            entries.iter().take(count.saturating_sub(first) as usize)
        });
        let tables = entries.map(|entry| entry.load(Ordering::Acquire) & OFFSET);
        tables.filter(|table| *table != 0)
    }

    /// Sets an entry.
    pub fn set(&self, index: u64, entry: u64) {
        let (piece, at) = place(index as usize);
        let make = || (0..FIRST << piece).map(|_| AtomicU64::new(0)).collect();
        if let Some(entries) = self.pieces.get(piece) {
            entries.get_or_init(make)[at].store(entry, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_where_they_were_put() {
        let table = L1::default();
        let indices = [0, 1, 1023, 1024, 3071, 3072, 100_000, (1 << 22) - 1];
        for index in indices {
            table.set(index, index + 1);
        }
        for index in indices {
            assert_eq!(table.get(index), index + 1);
        }
        assert_eq!(table.get(5), 0);
        assert_eq!(table.get(1 << 23), 0);
    }

    #[test]
    fn tables_are_those_of_the_entries_that_count() {
        let table = L1::default();
        for index in [0, 1, 1023, 1024, 3071, 100_000] {
            table.set(index, (index + 1) << 16 | 1);
        }
        table.set(7, 1);
        let tables = |count: u64| table.tables(count).map(|at| (at >> 16) - 1).collect();
        let some: Vec<u64> = tables(3071);
        assert_eq!(some, [0, 1, 1023, 1024]);
        let all: Vec<u64> = tables(1 << 22);
        assert_eq!(all, [0, 1, 1023, 1024, 3071, 100_000]);
        let none: Vec<u64> = tables(0);
        assert!(none.is_empty());
    }
}
