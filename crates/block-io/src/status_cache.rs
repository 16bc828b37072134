//! The data that a node was last found to store.
//!
//! To look for holes is a system call or two for each look, and who copies an
//! image looks at every piece of it. Most of an image that is full is one run of
//! data. So a node without children remembers the last run it was told of.
//!
//! What is remembered is data until it is *voided*: discarded, zeroed, cut off.
//! A look that began before may still report data when that is done. So each
//! look takes the number of things voided before, and what it finds is
//! remembered only if there have been no more since. Whoever voids says so after
//! the driver is done with it: a look that begins later sees the outcome, and an
//! earlier one comes too late.
//!
//! Reads and writes never come here. Two looks that meet take turns for a few
//! instructions, which is why this is a lock and nothing cleverer.

use std::ops::Range;

use block_common::sync::Mutex;

/// A run of data, and how often something was voided.
#[derive(Default)]
pub(crate) struct StatusCache(Mutex<State>);

struct State {
    /// Empty if nothing is remembered.
    data: Range<u64>,
    voided: u64,
}

impl Default for State {
    fn default() -> Self {
        State {
            data: 0..0,
            voided: 0,
        }
    }
}

/// A look for holes that has begun.
#[must_use]
#[derive(Debug)]
pub(crate) struct Look {
    voided: u64,
}

impl StatusCache {
    /// How many bytes from `offset` on are known to be data
    /// (`bdrv_bsc_is_data`).
    ///
    /// # Errors
    /// When it is not known: somebody has to look, and takes the value along.
    pub(crate) fn data_from(&self, offset: u64) -> Result<u64, Look> {
        let state = self.0.lock();
        if state.data.contains(&offset) {
            return Ok(state.data.end - offset);
        }
        Err(Look {
            voided: state.voided,
        })
    }

    /// The look has found data in `range` (`bdrv_bsc_fill`).
    pub(crate) fn fill(&self, look: &Look, range: Range<u64>) {
        let mut state = self.0.lock();
        if look.voided == state.voided {
            state.data = range;
        }
    }

    /// In `range` there may be no data any more
    /// (`bdrv_bsc_invalidate_range`).
    pub(crate) fn void(&self, range: &Range<u64>) {
        let mut state = self.0.lock();
        state.voided += 1;
        if range.start < state.data.end && state.data.start < range.end {
            state.data = 0..0;
        }
    }
}

#[cfg(all(test, not(block_loom)))]
mod tests {
    use super::*;

    fn look(cache: &StatusCache, offset: u64) -> Look {
        cache.data_from(offset).expect_err("nothing is known")
    }

    #[test]
    fn data_is_remembered_until_some_of_it_is_voided() {
        let cache = StatusCache::default();
        cache.fill(&look(&cache, 0), 100..200);
        assert_eq!(cache.data_from(100).ok(), Some(100));
        assert_eq!(cache.data_from(199).ok(), Some(1));
        assert!(cache.data_from(99).is_err() && cache.data_from(200).is_err());
        for beside in [0..100, 200..u64::MAX] {
            cache.void(&beside);
            assert_eq!(cache.data_from(150).ok(), Some(50), "{beside:?}");
        }
        for inside in [0..101, 199..200, 120..130, 0..u64::MAX] {
            cache.fill(&look(&cache, 0), 100..200);
            cache.void(&inside);
            assert!(cache.data_from(150).is_err(), "{inside:?}");
        }
    }

    #[test]
    fn what_a_look_found_before_something_was_voided_is_not_remembered() {
        let cache = StatusCache::default();
        let (early, late) = (look(&cache, 0), look(&cache, 0));
        cache.fill(&early, 0..100);
        cache.void(&(1000..2000));
        cache.fill(&late, 0..500);
        assert_eq!(cache.data_from(0).ok(), Some(100), "the earlier one is");
        cache.void(&(0..1));
        cache.fill(&late, 0..500);
        assert!(cache.data_from(0).is_err());
    }
}
