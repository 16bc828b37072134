//! Reference counts, 1 to 64 bits wide, in a block of them.

use super::bytes::{be16, be32, be64, put16, put32, put64};

/// How a block of reference counts is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    order: u32,
}

impl Counts {
    /// Counts of `1 << order` bits.
    pub fn new(order: u32) -> Counts {
        Counts { order }
    }

    /// The greatest count.
    pub fn max(self) -> u64 {
        match self.order {
            6.. => u64::MAX,
            order => (1 << (1 << order)) - 1,
        }
    }

    /// How many counts `bytes` bytes hold.
    pub fn per(self, bytes: u64) -> u64 {
        (bytes * 8) >> self.order
    }

    /// The count at `index`.
    pub fn get(self, block: &[u8], index: usize) -> u64 {
        match self.order {
            0..=2 => {
                let width = 1 << self.order;
                let bit = index * width;
                let mask = (1u8 << width) - 1;
                u64::from(block[bit / 8] >> (bit % 8) & mask)
            }
            3 => u64::from(block[index]),
            4 => u64::from(be16(block, index * 2)),
            5 => u64::from(be32(block, index * 4)),
            _ => be64(block, index * 8),
        }
    }

    /// Sets the count at `index`, which is not above [`max`](Counts::max).
    pub fn set(self, block: &mut [u8], index: usize, count: u64) {
        match self.order {
            0..=2 => {
                let width = 1 << self.order;
                let bit = index * width;
                let mask = ((1u8 << width) - 1) << (bit % 8);
                let byte = &mut block[bit / 8];
                *byte = *byte & !mask | (count as u8) << (bit % 8) & mask;
            }
            3 => block[index] = count as u8,
            4 => put16(block, index * 2, count as u16),
            5 => put32(block, index * 4, count as u32),
            _ => put64(block, index * 8, count),
        }
    }

    /// Which byte of the block has the count at `index`.
    pub fn byte_of(self, index: usize) -> usize {
        (index << self.order) / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_do_not_touch_each_other(
            order in 0u32..=6,
            writes in proptest::collection::vec((0usize..512, any::<u64>()), 1..64),
        ) {
            let counts = Counts::new(order);
            let mut block = vec![0; 4096];
            let mut model = vec![0; 512];
            for (index, count) in writes {
                let count = count & counts.max();
                counts.set(&mut block, index, count);
                model[index] = count;
            }
            let read: Vec<u64> = (0..512).map(|index| counts.get(&block, index)).collect();
            prop_assert_eq!(read, model);
        }
    }
}
