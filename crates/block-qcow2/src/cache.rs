//! Slices of second-level tables, read without a lock.
//!
//! A place holds one slice. Whoever reads looks at the place's counter before
//! and after: while a slice is being replaced it is odd, and afterwards it is
//! another one. All words are atomic, so a reader who comes too late sees
//! words of the new slice, finds that out, and asks again. Whoever writes
//! holds the lock of the image's state, which also knows which places hold
//! something that is not stored yet.
//!
//! Memory of a place that readers may be looking at never goes; what holds
//! nothing gives it back when nobody can be there
//! ([`drop_spare`](Slices::drop_spare) takes the places exclusively).

use std::collections::TryReserveError;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

use crate::format::entry::Entry;

/// Keys are numbers of slices; this is none.
const NOTHING: u64 = u64::MAX;

/// How many places a slice has to choose from, at least.
const WAYS: usize = 4;

/// Read since a place was last looked for.
const USED: u8 = 1;

/// Read since the places were last looked through.
const SEEN: u8 = 2;

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
    /// [`USED`], [`SEEN`].
    read: AtomicU8,
    words: OnceLock<Box<[AtomicU64]>>,
}

/// The number of a place.
pub(crate) type PlaceId = usize;

impl Slices {
    /// At least `count` places for slices of `words` words.
    ///
    /// # Errors
    /// When there is no memory for so many. That of their slices comes later.
    pub fn new(count: usize, words: usize) -> Result<Slices, TryReserveError> {
        let sets = match count / WAYS {
            0 => 1,
            sets => 1 << sets.ilog2(),
        };
        let ways = count.div_ceil(sets).max(1);
        let place = || Place {
            turn: AtomicU64::new(0),
            key: AtomicU64::new(NOTHING),
            read: AtomicU8::new(0),
            words: OnceLock::new(),
        };
        let count = sets.saturating_mul(ways);
        let mut places = Vec::new();
        places.try_reserve_exact(count)?;
        places.extend((0..count).map(|_| place()));
        Ok(Slices {
            places: places.into_boxed_slice(),
            ways,
            sets: sets as u64,
            words,
            word_bits: words.ilog2(),
        })
    }

    /// What stands for others while these are somewhere else: no places.
    pub fn none() -> Slices {
        Slices {
            places: Box::default(),
            ways: 0,
            sets: 1,
            words: 1,
            word_bits: 0,
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
        let places = self.places.get(self.places_of(key))?;
        let holds = |place: &&Place| place.key.load(Ordering::Relaxed) == key;
        let place = places.iter().find(holds)?;
        let turn = place.turn.load(Ordering::Acquire);
        if turn & 1 != 0 || place.key.load(Ordering::Relaxed) != key {
            return None;
        }
        let found = look(place.words.get()?);
        fence(Ordering::Acquire);
        if place.turn.load(Ordering::Relaxed) != turn {
            return None;
        }
        if place.read.load(Ordering::Relaxed) != USED | SEEN {
            place.read.store(USED | SEEN, Ordering::Relaxed);
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
        self.places[place].read.fetch_and(!USED, Ordering::Relaxed) & USED != 0
    }

    /// As [`take_used`](Slices::take_used), for whoever looks for what can go.
    pub fn take_seen(&self, place: PlaceId) -> bool {
        self.places[place].read.fetch_and(!SEEN, Ordering::Relaxed) & SEEN != 0
    }

    /// Whether a place holds nothing and has memory.
    pub fn is_spare(&self, place: PlaceId) -> bool {
        self.key(place).is_none() && self.places[place].words.get().is_some()
    }

    /// How many places have memory.
    pub fn with_memory(&self) -> usize {
        let has = |place: &&Place| place.words.get().is_some();
        self.places.iter().filter(has).count()
    }

    /// Gives back the memory of places that hold nothing. Nobody is looking.
    pub fn drop_spare(&mut self) {
        for place in &mut self.places {
            if *place.key.get_mut() == NOTHING {
                place.words = OnceLock::new();
            }
        }
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
        at.read.store(USED | SEEN, Ordering::Relaxed);
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
        let slices = Slices::new(2, 4).expect("room");
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
    fn memory_of_what_holds_nothing_goes_back() {
        let mut slices = Slices::new(2, 4).expect("room");
        slices.put(0, 0, [1; 4].into_iter());
        slices.put(1, 1, [2; 4].into_iter());
        assert!(slices.take_seen(0) && slices.take_seen(1));
        assert_eq!(slices.word(0), Some(1));
        assert!(slices.take_used(1) && !slices.take_seen(1));
        assert!(slices.take_seen(0), "it was read");
        slices.clear(1);
        assert!(slices.is_spare(1) && !slices.is_spare(0));
        assert_eq!(slices.with_memory(), 2);
        slices.drop_spare();
        assert_eq!(slices.with_memory(), 1);
        assert_eq!(slices.word(0), Some(1));
        slices.put(1, 3, [4; 4].into_iter());
        assert_eq!(slices.word(3 * 4), Some(4));
        assert_eq!(Slices::none().word(0), None);
    }

    #[test]
    fn there_is_an_end_to_how_many_places_there_are() {
        assert!(Slices::new(usize::MAX / 2, 64).is_err());
    }

    #[test]
    fn who_reads_while_it_changes_asks_again() {
        let slices = Slices::new(4, 2).expect("room");
        slices.put(0, 1, [1, 1].into_iter());
        let seen = slices.read(1, |words| {
            slices.put(0, 2, [2, 2].into_iter());
            words[0].load(Ordering::Relaxed)
        });
        assert_eq!(seen, None);
    }

    #[test]
    fn readers_on_other_threads_never_see_half_a_change() {
        let slices = Slices::new(1, 2).expect("room");
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
