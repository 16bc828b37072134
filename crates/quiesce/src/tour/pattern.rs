//! What every byte must be.
//!
//! The contents of a sector follow from which disk it is on, which sector it
//! is, and how often it has been written. So a byte that comes from another
//! disk, another place or another time is wrong, and so is a sector of which
//! only a part was written.

use super::rng::mix;

/// The unit of the model, in bytes. Reads may begin and end anywhere.
pub const SECTOR: u64 = 512;

/// Consecutive words of a sector differ by this.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The contents of one disk.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    disk: u64,
}

/// A byte that is not what it must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// Where in the disk, in bytes.
    pub at: u64,
    /// What is there.
    pub found: u8,
    /// What should be.
    pub expected: u8,
}

impl Pattern {
    /// The contents of the disk with this number.
    pub fn new(disk: u64) -> Self {
        Pattern {
            disk: mix(disk + 1),
        }
    }

    fn sector_seed(self, sector: u64, generation: u32) -> u64 {
        let place = mix(self.disk ^ sector.wrapping_mul(STEP));
        mix(place.wrapping_add(u64::from(generation)))
    }

    /// Fills `bytes`, whole sectors from `offset` on, with the contents in
    /// the generation that each sector has.
    pub fn fill(self, offset: u64, bytes: &mut [u8], generation: impl Fn(u64) -> u32) {
        debug_assert!(offset.is_multiple_of(SECTOR));
        for (index, sector) in bytes.chunks_mut(SECTOR as usize).enumerate() {
            let number = offset / SECTOR + index as u64;
            let mut word = self.sector_seed(number, generation(number));
            for part in sector.chunks_exact_mut(8) {
                part.copy_from_slice(&word.to_le_bytes());
                word = word.wrapping_add(STEP);
            }
        }
    }

    /// The first byte that is wrong, of `bytes` read at `offset`.
    pub fn check(
        self,
        offset: u64,
        bytes: &[u8],
        generation: impl Fn(u64) -> u32,
    ) -> Result<(), Mismatch> {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (sector, start) = (at / SECTOR, (at % SECTOR) as usize);
            let here = rest.len().min(SECTOR as usize - start);
            let (part, after) = rest.split_at(here);
            let seed = self.sector_seed(sector, generation(sector));
            if here < SECTOR as usize || !is_sector(seed, part) {
                check_bytes(seed, at, start, part)?;
            }
            at += here as u64;
            rest = after;
        }
        Ok(())
    }
}

fn is_sector(seed: u64, bytes: &[u8]) -> bool {
    let mut word = seed;
    let mut difference = 0;
    for part in bytes.as_chunks::<8>().0 {
        difference |= u64::from_le_bytes(*part) ^ word;
        word = word.wrapping_add(STEP);
    }
    difference == 0
}

fn check_bytes(seed: u64, at: u64, start: usize, bytes: &[u8]) -> Result<(), Mismatch> {
    for (index, &found) in bytes.iter().enumerate() {
        let place = start + index;
        let word = seed.wrapping_add(STEP.wrapping_mul(place as u64 / 8));
        let expected = word.to_le_bytes()[place % 8];
        if found != expected {
            return Err(Mismatch {
                at: at + index as u64,
                found,
                expected,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(number: u64, sectors: u64, generation: impl Fn(u64) -> u32) -> Vec<u8> {
        let mut bytes = vec![0; (sectors * SECTOR) as usize];
        Pattern::new(number).fill(0, &mut bytes, generation);
        bytes
    }

    #[test]
    fn any_range_of_the_right_contents_passes() {
        let generation = |sector| (sector * 3) as u32;
        let bytes = disk(7, 8, generation);
        for (start, end) in [(0, 4096), (1, 2), (511, 513), (100, 4095), (512, 1024)] {
            let outcome = Pattern::new(7).check(start as u64, &bytes[start..end], generation);
            assert_eq!(outcome, Ok(()), "{start}..{end}");
        }
    }

    #[test]
    fn every_single_wrong_byte_is_found_where_it_is() {
        let mut bytes = disk(7, 3, |_| 1);
        for at in 0..bytes.len() {
            bytes[at] ^= 0x10;
            let start = at.min(300);
            let mismatch = Pattern::new(7)
                .check(start as u64, &bytes[start..], |_| 1)
                .expect_err("a wrong byte");
            assert_eq!(mismatch.at, at as u64);
            assert_eq!(mismatch.found ^ mismatch.expected, 0x10);
            bytes[at] ^= 0x10;
        }
    }

    #[test]
    fn other_disks_places_and_times_are_wrong() {
        let bytes = disk(7, 2, |_| 1);
        let check = |disk, offset, generation| {
            Pattern::new(disk).check(offset, &bytes[..512], |_| generation)
        };
        assert_eq!(check(7, 0, 1), Ok(()));
        assert!(check(8, 0, 1).is_err(), "another disk");
        assert!(check(7, 512, 1).is_err(), "another place");
        assert!(check(7, 0, 0).is_err(), "an older write");
        assert!(check(7, 0, 2).is_err(), "a later write");
    }

    #[test]
    fn a_torn_write_is_found_at_the_tear() {
        let mut bytes = disk(7, 2, |_| 2);
        let older = disk(7, 2, |_| 1);
        bytes[700..].copy_from_slice(&older[700..]);
        let mismatch = Pattern::new(7).check(0, &bytes, |_| 2).expect_err("torn");
        // Two random bytes may agree now and then.
        assert!((700..708).contains(&mismatch.at), "{mismatch:?}");
    }
}
