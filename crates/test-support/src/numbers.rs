//! Numbers of chance, the same each time and on every machine.

/// A small generator; the number is its seed.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number below `below`.
    ///
    /// # Panics
    /// When `below` is 0.
    pub fn next(&mut self, below: u64) -> u64 {
        (self.step() >> 33) % below
    }

    /// The high bits are the good ones.
    fn step(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0
    }
}

/// Bytes that differ from place to place, and from seed to seed.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(2) + 1);
    (0..len).map(|_| (random.step() >> 56) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_and_none_too_large() {
        let (mut random, mut seen) = (Random(1), [0; 7]);
        for _ in 0..700 {
            seen[random.next(7) as usize] += 1;
        }
        assert!(seen.iter().all(|&times| times > 50), "{seen:?}");
    }

    #[test]
    fn a_pattern_is_that_of_its_seed() {
        assert_eq!(pattern(300, 5), pattern(400, 5)[..300]);
        for other in [0, 4, 6, u64::MAX] {
            let (mine, other) = (pattern(4096, 5), pattern(4096, other));
            let same = mine.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!(same < 64, "{same} of 4096 bytes");
        }
        let bytes = pattern(4096, 1);
        assert!((0..=u8::MAX).all(|byte| bytes.contains(&byte)));
    }
}
