//! How many requests took how long.

/// Counts by intervals of latency. The boundaries are in nanoseconds, rising:
/// `[10, 20]` makes three bins, below 10, from 10 to below 20, and the rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Histogram {
    boundaries: Box<[u64]>,
    bins: Box<[u64]>,
}

/// The boundaries of a histogram do not rise, begin with 0, or are too many.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("boundaries of a histogram must be greater than 0, rise, and be no more than {MAX}")]
pub struct BadBoundaries;

/// The most boundaries that a histogram may have.
const MAX: usize = 1024;

impl Histogram {
    /// An empty one.
    ///
    /// # Errors
    /// [`BadBoundaries`].
    pub fn new(boundaries: &[u64]) -> Result<Self, BadBoundaries> {
        let rising = boundaries.windows(2).all(|pair| pair[0] < pair[1]);
        if !rising || boundaries.first() == Some(&0) || boundaries.len() > MAX {
            return Err(BadBoundaries);
        }
        Ok(Histogram {
            boundaries: boundaries.into(),
            bins: vec![0; boundaries.len() + 1].into(),
        })
    }

    /// Where one bin ends and the next begins, in nanoseconds.
    pub fn boundaries(&self) -> &[u64] {
        &self.boundaries
    }

    /// How many requests fell in each bin: one more than boundaries.
    pub fn bins(&self) -> &[u64] {
        &self.bins
    }

    pub(super) fn account(&mut self, latency_ns: u64) {
        let bin = self.boundaries.partition_point(|&end| end <= latency_ns);
        self.bins[bin] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_belongs_to_the_bin_above() {
        let mut histogram = Histogram::new(&[10, 20]).expect("rising");
        for latency in [0, 9, 10, 19, 20, u64::MAX] {
            histogram.account(latency);
        }
        assert_eq!(histogram.bins(), [2, 2, 2]);
    }

    #[test]
    fn boundaries_rise_from_more_than_nothing() {
        for bad in [&[0, 1][..], &[5, 5], &[7, 3], &[1; MAX + 1]] {
            assert_eq!(Histogram::new(bad), Err(BadBoundaries));
        }
        let many: Vec<u64> = (1..=MAX as u64 + 1).collect();
        assert_eq!(Histogram::new(&many), Err(BadBoundaries));
        assert_eq!(Histogram::new(&[]).expect("one bin").bins(), [0]);
    }
}
