//! Who may still use a cluster that was given up.
//!
//! A request looks up where its data is, and then transfers it; meanwhile the
//! cluster may be freed by another one. It must not be given to somebody else
//! before the first request has ended: a write would destroy what is there by
//! then, and a read would show it. So requests say when they come and go, in
//! one of two counters in turn, and a cluster freed in one epoch is free when
//! two more have begun: nobody is left who came before.

use std::sync::atomic::{AtomicU64, Ordering};

use block_io::engine::{nth_shard, shard_count, thread_shard};
use crossbeam::utils::CachePadded;

/// Requests under way, by epoch.
#[derive(Debug)]
pub(crate) struct Grace {
    epoch: AtomicU64,
    shards: Box<[CachePadded<[AtomicU64; 2]>]>,
}

impl Grace {
    pub fn new() -> Grace {
        let shards = (0..shard_count()).map(|_| CachePadded::default());
        Grace {
            epoch: AtomicU64::new(2),
            shards: shards.collect(),
        }
    }

    /// Counts a request until the answer is dropped. Before it looks anything
    /// up.
    #[inline]
    pub fn enter(&self) -> Inside<'_> {
        let shard = &self.shards[nth_shard(thread_shard(), self.shards.len())];
        loop {
            let epoch = self.epoch.load(Ordering::SeqCst);
            let counter = &shard[(epoch & 1) as usize];
            counter.fetch_add(1, Ordering::SeqCst);
            if self.epoch.load(Ordering::SeqCst) == epoch {
                return Inside { counter };
            }
            counter.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// The epoch in which something is given up now.
    pub fn now(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Whether nobody is there.
    pub fn is_idle(&self) -> bool {
        let idle = |counter: &AtomicU64| counter.load(Ordering::SeqCst) == 0;
        self.shards.iter().all(|shard| shard.iter().all(idle))
    }

    /// Whether nobody is left who was there in `epoch`. Only one thread at a
    /// time may ask.
    pub fn is_over(&self, epoch: u64) -> bool {
        while self.now() < epoch + 2 {
            let now = self.now();
            let before = ((now + 1) & 1) as usize;
            let busy =
                |shard: &CachePadded<[AtomicU64; 2]>| shard[before].load(Ordering::SeqCst) != 0;
            if self.shards.iter().any(busy) {
                return false;
            }
            self.epoch.store(now + 1, Ordering::SeqCst);
        }
        true
    }
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Inside<'g> {
    counter: &'g AtomicU64,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_waits_for_everybody_who_was_there() {
        let grace = Grace::new();
        let early = grace.enter();
        let freed = grace.now();
        assert!(!grace.is_over(freed));
        let late = grace.enter();
        assert!(!grace.is_idle());
        assert!(!grace.is_over(freed));
        drop(early);
        drop(late);
        assert!(grace.is_idle());
        assert!(grace.is_over(freed));
        let after = grace.enter();
        assert!(grace.is_over(freed), "who comes later sees what is new");
        drop(after);
    }
}
