//! A table whose keys go stale instead of dangling.

/// Names one stay of one value in a [`Slots`].
///
/// The upper half counts how often the place was used before, so the key of a value that was
/// removed finds nothing, even when its place is taken again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(u64);

impl Key {
    /// A key that no table ever gives out.
    pub(super) const NONE: Key = Key(u64::MAX);

    pub(super) const fn from_u64(raw: u64) -> Key {
        Key(raw)
    }

    pub(super) const fn as_u64(self) -> u64 {
        self.0
    }

    fn new(index: u32, generation: u32) -> Key {
        Key(u64::from(generation) << 32 | u64::from(index))
    }

    fn index(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values at stable, reused places. Grows with the number of values alive at once.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(super) const fn new() -> Self {
        Slots {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.value = Some(value);
            return Key::new(index, slot.generation);
        }
        // The top indices are left out, so that no key equals `NONE` or a caller's own marks.
        let index = u32::try_from(self.slots.len())
            .ok()
            .filter(|index| *index < u32::MAX - 16)
            .expect("fewer than 2^32 values at a time");
        self.slots.push(Slot {
            generation: 0,
            value: Some(value),
        });
        Key::new(index, 0)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index())?;
        if slot.generation != key.generation() {
            return None;
        }
        slot.value.as_mut()
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index())?;
        if slot.generation != key.generation() {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index() as u32);
        Some(value)
    }

    /// Takes all values out.
    pub(super) fn take_all(&mut self) -> Vec<(Key, T)> {
        let keys: Vec<Key> = self.keys().collect();
        keys.into_iter()
            .filter_map(|key| self.remove(key).map(|value| (key, value)))
            .collect()
    }

    /// The keys of all values.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.value.is_some())
            .map(|(index, slot)| Key::new(index as u32, slot.generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slots = Slots::new();
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b');
        assert_eq!(second.index(), first.index());
        assert_eq!(slots.get_mut(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get_mut(second), Some(&mut 'b'));
        assert_eq!(slots.get_mut(Key::NONE), None);
        assert_eq!(slots.keys().collect::<Vec<_>>(), [second]);
        assert_eq!(slots.take_all(), [(second, 'b')]);
        assert!(slots.is_empty());
    }
}
