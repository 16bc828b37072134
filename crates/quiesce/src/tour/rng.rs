//! Random choices that a seed repeats (SplitMix64).

use std::ops::Range;

/// A source of random numbers. Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng(u64);

/// Spreads the bits of a number over all of it.
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Rng {
    /// A source that begins at `seed`.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// Another source, whose numbers have nothing to do with this one's.
    pub fn fork(&mut self) -> Rng {
        Rng(mix(self.next()))
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// A number in `range`; its start when it is empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end.saturating_sub(range.start))
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `items`, if there is one.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_a_range_is_kept() {
        let (mut one, mut two) = (Rng::new(3), Rng::new(3));
        let mut seen = [false; 5];
        for _ in 0..200 {
            let number = one.within(10..15);
            assert_eq!(number, two.within(10..15));
            seen[number as usize - 10] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(one.below(0), 0);
        assert_eq!(one.pick::<u8>(&[]), None);
    }
}
