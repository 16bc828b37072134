//! Slices of second-level tables, read without a lock.
//!
//! A place holds one slice. Whoever reads looks at the place's counter before
//! and after: while a slice is being replaced it is odd, and afterwards it is
//! another one. All words are atomic, so a reader who comes too late sees
//! words of the new slice, finds that out, and asks again. Whoever writes
//! holds the lock of the image's state, which also knows which places hold
//! something that is not stored yet.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use crate::format::entry::Entry;

/// Keys are numbers of slices; this is none.
const NOTHING: u64 = u64::MAX;

/// How many places a slice has to choose from, at least.
const WAYS: usize = 4;

/// The places.
#[derive(Debug)]
pub(crate) struct Slices {
    places: Box<[Place]>,
    ways: usize,
    sets: u64,
    words: usize,
    word_bits: u32,
}

#[derive(Debug)]
struct Place {
    turn: AtomicU64,
    key: AtomicU64,
    used: AtomicBool,
    words: OnceLock<Box<[AtomicU64]>>,
}

/// The number of a place.
pub(crate) type PlaceId = usize;

impl Slices {
    /// At least `count` places for slices of `words` words.
    pub fn new(count: usize, words: usize) -> Slices {
        let sets = match count / WAYS {
            0 => 1,
            sets => 1 << sets.ilog2(),
        };
        let ways = count.div_ceil(sets).max(1);
        let place = || Place {
            turn: AtomicU64::new(0),
            key: AtomicU64::new(NOTHING),
            used: AtomicBool::new(false),
            words: OnceLock::new(),
        };
        Slices {
            places: (0..sets * ways).map(|_| place()).collect(),
            ways,
            sets: sets as u64,
            words,
            word_bits: words.ilog2(),
        }
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// How many words a slice has.
    pub fn words(&self) -> usize {
        self.words
    }

    /// As a power of two.
    #[inline]
    pub fn word_bits(&self) -> u32 {
        self.word_bits
    }

    /// The places that may hold the slice.
    #[inline]
    pub fn places_of(&self, key: u64) -> std::ops::Range<PlaceId> {
        let first = (key & (self.sets - 1)) as usize * self.ways;
        first..first + self.ways
    }

    /// Where the slice is. Under the lock of the state the answer holds.
    #[inline]
    pub fn find(&self, key: u64) -> Option<PlaceId> {
        let places = self.places_of(key);
        let first = places.start;
        let holds = |place: &Place| place.key.load(Ordering::Relaxed) == key;
        let found = self.places.get(places)?.iter().position(holds)?;
        Some(first + found)
    }

    /// What `look` finds in the slice, if it is here. It may be shown a mix of
    /// slices first; what it found then is thrown away.
    #[inline]
    pub fn read<R>(&self, key: u64, look: impl FnOnce(&[AtomicU64]) -> R) -> Option<R> {
        let place = &self.places[self.find(key)?];
        let turn = place.turn.load(Ordering::Acquire);
        if turn & 1 != 0 || place.key.load(Ordering::Relaxed) != key {
            return None;
        }
        let found = look(place.words.get()?);
        fence(Ordering::Acquire);
        if place.turn.load(Ordering::Relaxed) != turn {
            return None;
        }
        if !place.used.load(Ordering::Relaxed) {
            place.used.store(true, Ordering::Relaxed);
        }
        Some(found)
    }

    /// One word of all there are, if its slice is here.
    #[inline]
    pub fn word(&self, number: u64) -> Option<u64> {
        let index = number as usize & (self.words - 1);
        self.read(number >> self.word_bits, |words| {
            words.get(index).map(|word| word.load(Ordering::Acquire))
        })?
    }

    /// What slice a place holds. Under the lock of the state.
    pub fn key(&self, place: PlaceId) -> Option<u64> {
        let key = self.places[place].key.load(Ordering::Relaxed);
        (key != NOTHING).then_some(key)
    }

    /// Whether somebody has read it since this was last asked.
    pub fn take_used(&self, place: PlaceId) -> bool {
        self.places[place].used.swap(false, Ordering::Relaxed)
    }

    /// The words of a place that holds a slice. Under the lock of the state.
    pub fn contents(&self, place: PlaceId) -> &[AtomicU64] {
        self.places[place].words.get().map_or(&[], |words| words)
    }

    /// Changes the words of a place, so that nobody sees half of it. Under the
    /// lock of the state.
    pub fn change<R>(&self, place: PlaceId, change: impl FnOnce(&[AtomicU64]) -> R) -> R {
        let turn = self.begin(place);
        let done = change(self.contents(place));
        self.places[place].turn.store(turn + 2, Ordering::Release);
        done
    }

    fn begin(&self, place: PlaceId) -> u64 {
        let turn = self.places[place].turn.load(Ordering::Relaxed);
        self.places[place].turn.store(turn + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        turn
    }

    /// Puts a slice into a place. Under the lock of the state.
    pub fn put(&self, place: PlaceId, key: u64, words: impl Iterator<Item = u64>) {
        let turn = self.begin(place);
        let at = &self.places[place];
        at.key.store(key, Ordering::Relaxed);
        let make = || (0..self.words).map(|_| AtomicU64::new(0)).collect();
        let stored = at.words.get_or_init(make);
        for (to, word) in stored.iter().zip(words) {
            to.store(word, Ordering::Relaxed);
        }
        at.used.store(true, Ordering::Relaxed);
        at.turn.store(turn + 2, Ordering::Release);
    }

    /// Empties a place. Under the lock of the state.
    pub fn clear(&self, place: PlaceId) {
        let turn = self.begin(place);
        self.places[place].key.store(NOTHING, Ordering::Relaxed);
        self.places[place].turn.store(turn + 2, Ordering::Release);
    }
}

/// The entry number `index` of a slice.
#[inline]
pub(crate) fn entry_at(words: &[AtomicU64], index: usize, words_per_entry: usize) -> Entry {
    match words_per_entry {
        1 => Entry {
            word: words[index].load(Ordering::Acquire),
            bitmap: 0,
        },
        _ => Entry {
            word: words[index * 2].load(Ordering::Acquire),
            bitmap: words[index * 2 + 1].load(Ordering::Acquire),
        },
    }
}

/// Sets the entry number `index` of a slice.
pub(crate) fn set_entry(words: &[AtomicU64], index: usize, words_per_entry: usize, to: Entry) {
    match words_per_entry {
        1 => words[index].store(to.word, Ordering::Release),
        _ => {
            words[index * 2].store(to.word, Ordering::Release);
            words[index * 2 + 1].store(to.bitmap, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_found_until_its_place_is_taken() {
        let slices = Slices::new(2, 4);
        assert!(slices.read(7, |_| ()).is_none());
        let place = slices.places_of(7).start;
        slices.put(place, 7, [1, 2, 3, 4].into_iter());
        assert_eq!(
            slices.read(7, |words| words[2].load(Ordering::Relaxed)),
            Some(3)
        );
        slices.put(place, 8, [5; 4].into_iter());
        assert_eq!(slices.word(8 * 4 + 1), Some(5));
        assert_eq!(slices.word(7 * 4 + 1), None);
        assert!(slices.read(7, |_| ()).is_none());
        slices.clear(place);
        assert!(slices.read(8, |_| ()).is_none());
    }

    #[test]
    fn who_reads_while_it_changes_asks_again() {
        let slices = Slices::new(4, 2);
        slices.put(0, 1, [1, 1].into_iter());
        let seen = slices.read(1, |words| {
            slices.put(0, 2, [2, 2].into_iter());
            words[0].load(Ordering::Relaxed)
        });
        assert_eq!(seen, None);
    }

    #[test]
    fn readers_on_other_threads_never_see_half_a_change() {
        let slices = Slices::new(1, 2);
        slices.put(0, 0, [0, 0].into_iter());
        std::thread::scope(|scope| {
            let readers = (0..2).map(|_| {
                scope.spawn(|| {
                    let mut seen = 0;
                    while seen < 20_000 {
                        let pair = slices.read(0, |words| {
                            let entry = entry_at(words, 0, 2);
                            (entry.word, entry.bitmap)
                        });
                        if let Some((one, other)) = pair {
                            assert_eq!(one, other);
                            seen = one;
                        }
                    }
                })
            });
            let readers: Vec<_> = readers.collect();
            for turn in 1..=20_000 {
                let to = Entry {
                    word: turn,
                    bitmap: turn,
                };
                slices.change(0, |words| set_entry(words, 0, 2, to));
            }
            for reader in readers {
                reader.join().expect("a reader");
            }
        });
    }
}
