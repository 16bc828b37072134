//! Which places of slices hold something that is not stored.
//!
//! A flush asks this every time, so it is counted, and who stores it finds it
//! without looking at every place there is.

use std::collections::TryReserveError;

use crate::cache::PlaceId;
use crate::dirty::Dirty;

/// One place.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    dirty: Dirty,
    /// What was dirty is being stored.
    writing: bool,
    /// It is among those to be looked at.
    listed: bool,
}

impl State {
    fn is_stored(self) -> bool {
        self.dirty.is_clean() && !self.writing
    }
}

/// What is known about each place.
#[derive(Debug)]
pub(crate) struct Places {
    all: Vec<State>,
    /// All that are dirty, each once, and some that no longer are.
    listed: Vec<PlaceId>,
    /// How many are not stored as they are.
    unstored: usize,
}

impl Places {
    /// So many places with nothing to be stored.
    ///
    /// # Errors
    /// When there is no memory for what is known of them.
    pub fn new(count: usize) -> Result<Places, TryReserveError> {
        let (mut all, mut listed) = (Vec::new(), Vec::new());
        all.try_reserve_exact(count)?;
        all.resize(count, State::default());
        listed.try_reserve_exact(count)?;
        Ok(Places {
            all,
            listed,
            unstored: 0,
        })
    }

    /// Whether everything is stored as it is.
    pub fn are_stored(&self) -> bool {
        self.unstored == 0
    }

    /// Whether what is there is stored as it is.
    pub fn may_go(&self, place: PlaceId) -> bool {
        self.all[place].is_stored()
    }

    /// Notes a byte of a slice that is `length` bytes long.
    pub fn note(&mut self, place: PlaceId, byte: usize, length: usize) {
        self.change(place, |state| state.dirty.note(byte, length));
    }

    /// All that is dirty, which is being stored from now on, in order.
    pub fn take(&mut self) -> Vec<(PlaceId, Dirty)> {
        let mut taken = Vec::new();
        while let Some(place) = self.listed.pop() {
            let state = &mut self.all[place];
            state.listed = false;
            if !state.dirty.is_clean() {
                state.writing = true;
                taken.push((place, std::mem::take(&mut state.dirty)));
            }
        }
        taken.sort_unstable_by_key(|(place, _)| *place);
        taken
    }

    /// What was taken is stored, or nobody wants it any more.
    pub fn put(&mut self, place: PlaceId) {
        self.change(place, |state| state.writing = false);
    }

    /// What was taken is not stored.
    pub fn put_back(&mut self, place: PlaceId, dirty: Dirty) {
        self.change(place, |state| {
            state.dirty.join(dirty);
            state.writing = false;
        });
    }

    /// Nobody wants what is there; it may be on its way to the file.
    pub fn give_up(&mut self, place: PlaceId) {
        self.change(place, |state| state.dirty = Dirty::default());
    }

    /// Nobody wants what is anywhere, and nothing is on its way.
    pub fn clear(&mut self) {
        self.all.fill(State::default());
        self.listed.clear();
        self.unstored = 0;
    }

    fn change(&mut self, place: PlaceId, change: impl FnOnce(&mut State)) {
        let state = &mut self.all[place];
        let was_stored = state.is_stored();
        change(state);
        match (was_stored, state.is_stored()) {
            (true, false) => self.unstored += 1,
            (false, true) => self.unstored -= 1,
            _ => {}
        }
        if !state.dirty.is_clean() && !state.listed {
            state.listed = true;
            self.listed.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dirty_is_found_once_and_counted() {
        let mut places = Places::new(8).expect("memory");
        assert!(places.are_stored());
        for place in [5, 2, 5, 7] {
            places.note(place, 0, 4096);
        }
        places.give_up(7);
        places.note(7, 100, 4096);
        assert!(!places.may_go(5) && places.may_go(1));
        let taken: Vec<PlaceId> = places.take().iter().map(|taken| taken.0).collect();
        assert_eq!(taken, [2, 5, 7]);
        assert!(places.take().is_empty());
        assert!(!places.may_go(5), "it is being stored");
        // Changed again meanwhile, stored, or not stored.
        places.note(2, 0, 4096);
        places.put(2);
        places.put(5);
        places.put_back(7, Dirty::ALL);
        assert!(!places.may_go(2) && places.may_go(5) && !places.may_go(7));
        let taken = places.take();
        assert_eq!(taken.len(), 2);
        assert!(taken[1] == (7, Dirty::ALL));
        taken.iter().for_each(|(place, _)| places.put(*place));
        assert!(places.are_stored());
        places.note(3, 0, 4096);
        places.clear();
        assert!(places.are_stored() && places.take().is_empty());
    }
}
