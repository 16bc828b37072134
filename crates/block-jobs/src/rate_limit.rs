//! How fast a job may go.

use std::time::{Duration, Instant};

/// How long a slice of time is in which a job may do its share
/// (`BLOCK_JOB_SLICE_TIME`).
pub(crate) const SLICE: Duration = Duration::from_millis(100);

/// Counts bytes in slices of time (`RateLimit`).
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    /// How many bytes a slice has room for; 0 for any number.
    quota: u64,
    dispatched: u64,
    slice: Option<Slice>,
}

#[derive(Clone, Copy, Debug)]
struct Slice {
    start: Instant,
    end: Instant,
}

impl RateLimit {
    /// Sets the speed in bytes a second; 0 for no limit
    /// (`ratelimit_set_speed`).
    pub fn set_speed(&mut self, speed: u64) {
        let slices = 1000 / SLICE.as_millis() as u64;
        self.quota = if speed == 0 {
            0
        } else {
            (speed / slices).max(1)
        };
    }

    /// Counts `bytes` that were done at `now`, and says how long to wait
    /// before the next (`ratelimit_calculate_delay`). What goes beyond a
    /// slice makes it longer.
    pub fn processed(&mut self, now: Instant, bytes: u64) -> Duration {
        if self.quota == 0 {
            return Duration::ZERO;
        }
        let fresh = Slice {
            start: now,
            end: now + SLICE,
        };
        let mut slice = match self.slice {
            Some(slice) if slice.end >= now => slice,
            _ => {
                self.dispatched = 0;
                fresh
            }
        };
        self.dispatched = self.dispatched.saturating_add(bytes);
        let delay = if self.dispatched < self.quota {
            Duration::ZERO
        } else {
            let slices = self.dispatched as f64 / self.quota as f64;
            // An hour at a time: what is longer is found out again then.
            let longest = Duration::from_secs(3600);
            let whole = Duration::try_from_secs_f64(SLICE.as_secs_f64() * slices);
            let whole = whole.unwrap_or(longest).min(longest);
            slice.end = slice.start + whole;
            slice.end.saturating_duration_since(now)
        };
        self.slice = Some(slice);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn no_speed_is_no_limit() {
        let mut limit = RateLimit::default();
        let now = Instant::now();
        assert_eq!(limit.processed(now, u64::MAX), Duration::ZERO);
        limit.set_speed(10);
        limit.set_speed(0);
        assert_eq!(limit.processed(now, u64::MAX), Duration::ZERO);
    }

    #[test]
    fn what_goes_beyond_a_slice_is_waited_for() {
        let mut limit = RateLimit::default();
        limit.set_speed(10 * MIB);
        let start = Instant::now();
        assert_eq!(limit.processed(start, MIB / 2), Duration::ZERO);
        // Five slices and a half were used up in the first.
        assert_eq!(limit.processed(start, 5 * MIB), Duration::from_millis(550));
        // Asking again counts nothing.
        let later = start + Duration::from_millis(50);
        assert_eq!(limit.processed(later, 0), Duration::from_millis(500));
        // Over: a new slice.
        let end = start + Duration::from_millis(551);
        assert_eq!(limit.processed(end, 0), Duration::ZERO);
        assert_eq!(limit.processed(end, MIB / 2), Duration::ZERO);
    }

    #[test]
    fn the_slowest_speed_lets_something_through() {
        let mut limit = RateLimit::default();
        limit.set_speed(1);
        let now = Instant::now();
        assert_eq!(limit.processed(now, 0), Duration::ZERO);
        assert_eq!(limit.processed(now, 3), Duration::from_millis(300));
        limit.processed(now, u64::MAX);
    }
}
