//! Which parts of a disk a request of the run has to itself.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use block_io::aio::sleep;

use super::disk::Disk;

/// All of a disk, and what may come after its end.
pub const EVERYTHING: Range<u64> = 0..u64::MAX;

/// The ranges that are taken.
#[derive(Debug, Default)]
pub struct Locks {
    taken: Vec<Range<u64>>,
    /// How many wait for all of the disk. New requests hold back then.
    waiting: usize,
}

impl Locks {
    fn is_free(&self, range: &Range<u64>) -> bool {
        let overlap = |taken: &Range<u64>| taken.start < range.end && range.start < taken.end;
        !self.taken.iter().any(overlap)
    }

    /// The ranges that are taken.
    pub fn taken(&self) -> Vec<Range<u64>> {
        self.taken.clone()
    }

    /// For one who waits.
    fn take_everything(&mut self) -> bool {
        let free = self.taken.is_empty();
        if free {
            self.waiting -= 1;
            self.taken.push(EVERYTHING);
        }
        free
    }
}

/// A part of a disk that nobody else of the run uses.
#[derive(Debug)]
pub struct Locked {
    disk: Arc<Disk>,
    range: Range<u64>,
}

impl Locked {
    /// Takes a range if it is free.
    pub fn range(disk: &Arc<Disk>, range: Range<u64>) -> Option<Locked> {
        let mut locks = disk.locks();
        if locks.waiting > 0 || !locks.is_free(&range) {
            return None;
        }
        locks.taken.push(range.clone());
        drop(locks);
        let disk = Arc::clone(disk);
        Some(Locked { disk, range })
    }

    /// Takes all of the disk, and what may come after its end.
    pub async fn everything(disk: &Arc<Disk>) -> Locked {
        disk.locks().waiting += 1;
        while !disk.locks().take_everything() {
            sleep(Duration::from_micros(50)).await;
        }
        Locked {
            disk: Arc::clone(disk),
            range: EVERYTHING,
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let mut locks = self.disk.locks();
        if let Some(place) = locks.taken.iter().position(|taken| *taken == self.range) {
            locks.taken.swap_remove(place);
        }
    }
}
