//! The arithmetic: leaky buckets. Time is an argument.
//!
//! Levels are whole numbers of billionths of a byte or of an operation: what
//! a limit of one a second leaks in a nanosecond. Sums of many small steps
//! are then exact, whatever the rates.

use std::time::Duration;

use super::Direction;
use super::config::{Limit, ThrottleConfig};

const UNIT: u128 = 1_000_000_000;

/// Requests pour into it, time lets it leak; while it is too full, requests
/// wait.
#[derive(Clone, Debug)]
struct Bucket {
    limit: Limit,
    /// Leaks at `avg`; too full above what a burst may have.
    level: u128,
    /// Leaks at `max`: during a burst of several seconds, it keeps these
    /// even. Not used for shorter ones.
    burst_level: u128,
}

impl Bucket {
    fn new(limit: Limit) -> Self {
        Bucket {
            limit,
            level: 0,
            burst_level: 0,
        }
    }

    fn has_long_bursts(&self) -> bool {
        self.limit.burst_length > 1
    }

    fn leak(&mut self, elapsed: Duration) {
        let leaked = |rate: u64| u128::from(rate).saturating_mul(elapsed.as_nanos());
        self.level = self.level.saturating_sub(leaked(self.limit.avg));
        if self.has_long_bursts() {
            let leaked = leaked(self.limit.max);
            self.burst_level = self.burst_level.saturating_sub(leaked);
        }
    }

    /// How long until a request may be poured in (`throttle_compute_wait`).
    fn wait(&self) -> Duration {
        let Limit {
            avg,
            max,
            burst_length,
        } = self.limit;
        if avg == 0 {
            return Duration::ZERO;
        }
        let size = match max {
            0 => u128::from(avg) * UNIT / 10,
            max => u128::from(max) * u128::from(burst_length) * UNIT,
        };
        if self.level > size {
            return until_leaked(self.level - size, avg);
        }
        let burst_size = u128::from(max) * UNIT / 10;
        if self.has_long_bursts() && self.burst_level > burst_size {
            return until_leaked(self.burst_level - burst_size, max);
        }
        Duration::ZERO
    }

    fn pour(&mut self, amount: u128) {
        if self.limit.avg == 0 {
            return;
        }
        self.level = self.level.saturating_add(amount);
        if self.has_long_bursts() {
            self.burst_level = self.burst_level.saturating_add(amount);
        }
    }
}

/// Rounded up: when it is over, the bucket has leaked that much.
fn until_leaked(extra: u128, rate: u64) -> Duration {
    let nanos = extra.div_ceil(u128::from(rate));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The six buckets of a group (`ThrottleState`).
#[derive(Clone, Debug)]
pub(super) struct Buckets {
    config: ThrottleConfig,
    total: Pair,
    read: Pair,
    write: Pair,
    leaked_until: Duration,
}

#[derive(Clone, Debug)]
struct Pair {
    bytes: Bucket,
    ops: Bucket,
}

impl Pair {
    fn new(bytes: Limit, ops: Limit) -> Self {
        Pair {
            bytes: Bucket::new(bytes),
            ops: Bucket::new(ops),
        }
    }

    fn leak(&mut self, elapsed: Duration) {
        self.bytes.leak(elapsed);
        self.ops.leak(elapsed);
    }

    fn wait(&self) -> Duration {
        self.bytes.wait().max(self.ops.wait())
    }

    fn pour(&mut self, bytes: u128, ops: u128) {
        self.bytes.pour(bytes);
        self.ops.pour(ops);
    }
}

impl Buckets {
    /// Empty ones. `now` is the time since anything, always the same thing.
    pub(super) fn new(config: ThrottleConfig, now: Duration) -> Self {
        Buckets {
            config,
            total: Pair::new(config.bps_total, config.iops_total),
            read: Pair::new(config.bps_read, config.iops_read),
            write: Pair::new(config.bps_write, config.iops_write),
            leaked_until: now,
        }
    }

    pub(super) fn config(&self) -> &ThrottleConfig {
        &self.config
    }

    /// Lets time pass. A `now` before an earlier one counts for nothing.
    pub(super) fn leak(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.leaked_until);
        if elapsed.is_zero() {
            return;
        }
        self.leaked_until = now;
        self.total.leak(elapsed);
        self.read.leak(elapsed);
        self.write.leak(elapsed);
    }

    /// How long the next request of `direction` has to wait, from the last
    /// [`leak`](Buckets::leak) on. Does not depend on how large it is.
    pub(super) fn wait(&self, direction: Direction) -> Duration {
        let own = match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        };
        self.total.wait().max(own.wait())
    }

    /// Counts a request that runs now (`throttle_account`).
    pub(super) fn pour(&mut self, direction: Direction, bytes: u64) {
        let ops = match self.config.iops_size {
            size if size != 0 && bytes > size => u128::from(bytes) * UNIT / u128::from(size),
            _ => UNIT,
        };
        let bytes = u128::from(bytes) * UNIT;
        let own = match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        };
        own.pour(bytes, ops);
        self.total.pour(bytes, ops);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// One reader that always wants more: how many requests it gets done in
    /// each of the first `seconds`.
    fn reads_each_second(config: ThrottleConfig, bytes: u64, seconds: usize) -> Vec<u64> {
        config.validate().expect("makes sense");
        let mut buckets = Buckets::new(config, Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut done = vec![0; seconds];
        loop {
            buckets.leak(now);
            let wait = buckets.wait(Direction::Read);
            if wait.is_zero() {
                let Some(second) = done.get_mut(now.as_secs() as usize) else {
                    return done;
                };
                *second += 1;
                buckets.pour(Direction::Read, bytes);
                // Less than any wait, so that an unlimited reader ends too.
                now += Duration::from_nanos(10_000);
            } else {
                now += wait;
            }
        }
    }

    #[track_caller]
    fn assert_near(is: u64, should: u64) {
        assert!(is.abs_diff(should) * 20 <= should, "{is} is not {should}");
    }

    #[test]
    fn bytes_a_second() {
        let config = ThrottleConfig {
            bps_read: Limit::average(10 << 20),
            ..ThrottleConfig::default()
        };
        let done = reads_each_second(config, 65536, 10);
        // The first second has the tenth that an empty bucket takes.
        assert_near(done[0], 176);
        done[1..]
            .iter()
            .for_each(|second| assert_near(*second, 160));
    }

    #[test]
    fn operations_a_second_whatever_their_size() {
        let config = ThrottleConfig {
            iops_total: Limit::average(200),
            ..ThrottleConfig::default()
        };
        for bytes in [512, 1 << 20] {
            let done = reads_each_second(config, bytes, 10);
            assert_near(done[0], 220);
            done[1..]
                .iter()
                .for_each(|second| assert_near(*second, 200));
        }
    }

    #[test]
    fn a_large_operation_counts_in_proportion_and_a_small_one_as_one() {
        let config = ThrottleConfig {
            iops_read: Limit::average(300),
            iops_size: 4096,
            ..ThrottleConfig::default()
        };
        assert_near(reads_each_second(config, 512, 3)[2], 300);
        assert_near(reads_each_second(config, 4096, 3)[2], 300);
        assert_near(reads_each_second(config, 6144, 3)[2], 200);
        assert_near(reads_each_second(config, 12288, 3)[2], 100);
    }

    #[test]
    fn a_burst_goes_at_its_rate_for_its_length() {
        let config = ThrottleConfig {
            iops_total: Limit::average(100).burst(1000, 5),
            ..ThrottleConfig::default()
        };
        let done = reads_each_second(config, 512, 12);
        // At 1000 a second the bucket of 5000 fills by 900 a second.
        assert_near(done[0], 1100);
        done[1..5]
            .iter()
            .for_each(|second| assert_near(*second, 1000));
        done[6..]
            .iter()
            .for_each(|second| assert_near(*second, 100));
        let all: u64 = done.iter().sum();
        assert_near(all, 5000 + 12 * 100);
    }

    #[test]
    fn a_burst_of_one_second_is_not_kept_even() {
        let config = ThrottleConfig {
            iops_total: Limit::average(100).burst(1000, 1),
            ..ThrottleConfig::default()
        };
        let done = reads_each_second(config, 512, 3);
        assert_near(done[0], 1100);
        assert_near(done[1], 100);
    }

    #[test]
    fn the_tightest_bucket_decides() {
        let config = ThrottleConfig {
            bps_total: Limit::average(1 << 20),
            iops_read: Limit::average(50),
            ..ThrottleConfig::default()
        };
        assert_near(reads_each_second(config, 4096, 3)[2], 50);
        assert_near(reads_each_second(config, 65536, 3)[2], 16);
    }

    #[test]
    fn each_direction_fills_its_own_and_the_total() {
        let config = ThrottleConfig {
            bps_read: Limit::average(1000),
            iops_total: Limit::average(10),
            ..ThrottleConfig::default()
        };
        let mut buckets = Buckets::new(config, Duration::ZERO);
        buckets.pour(Direction::Write, 1 << 20);
        assert_eq!(buckets.wait(Direction::Read), Duration::ZERO);
        buckets.pour(Direction::Read, 1100);
        assert_eq!(buckets.wait(Direction::Read), SECOND);
        // Two operations, of which a tenth of ten fits.
        assert_eq!(buckets.wait(Direction::Write), SECOND / 10);
    }

    #[test]
    fn after_the_wait_there_is_none() {
        // Rates and sizes that do not divide each other.
        for avg in [1, 3, 7, 1013, 999_999_937, ThrottleConfig::MAX_VALUE] {
            let config = ThrottleConfig {
                bps_total: Limit::average(avg),
                ..ThrottleConfig::default()
            };
            let mut buckets = Buckets::new(config, Duration::ZERO);
            let mut now = Duration::from_nanos(17);
            for bytes in [1, 511, 65537, u64::from(u32::MAX)] {
                buckets.leak(now);
                buckets.pour(Direction::Write, bytes);
                now += buckets.wait(Direction::Write);
                buckets.leak(now);
                assert_eq!(buckets.wait(Direction::Write), Duration::ZERO);
            }
        }
    }

    #[test]
    fn nothing_wraps_around() {
        let most = Limit::average(ThrottleConfig::MAX_VALUE).burst(ThrottleConfig::MAX_VALUE, 1);
        let config = ThrottleConfig {
            bps_total: Limit::average(1000).burst(1000, 2),
            iops_total: most,
            iops_size: 1,
            ..ThrottleConfig::default()
        };
        let mut buckets = Buckets::new(config, Duration::ZERO);
        for _ in 0..100 {
            buckets.pour(Direction::Read, u64::MAX);
        }
        assert_eq!(
            buckets.wait(Direction::Read),
            Duration::from_nanos(u64::MAX)
        );
        buckets.leak(Duration::MAX);
        buckets.leak(Duration::ZERO);
        assert_eq!(buckets.wait(Direction::Read), Duration::ZERO);
    }

    #[test]
    fn without_limits_nobody_waits() {
        let done = reads_each_second(ThrottleConfig::default(), 1 << 30, 1);
        assert_eq!(done, [100_000]);
    }

    /// A level in the units of a bucket.
    fn level(units: f64) -> u128 {
        (units * UNIT as f64).round() as u128
    }

    #[track_caller]
    fn assert_level(is: u128, should: f64) {
        let is = is as f64 / UNIT as f64;
        assert!((is - should).abs() < 1e-6, "{is} is not {should}");
    }

    /// QEMU's `/throttle/leak_bucket`
    #[test]
    fn leak_bucket() {
        let mut bucket = Bucket::new(Limit::average(150));
        bucket.level = level(1.5);
        for left in [0.5, 0.0, 0.0] {
            bucket.leak(SECOND / 150);
            assert_level(bucket.level, left);
            assert_eq!(bucket.limit, Limit::average(150));
        }
        bucket.limit = Limit::average(150).burst(250, 2);
        bucket.burst_level = level(6.0);
        for left in [3.5, 1.0, 0.0, 0.0] {
            bucket.leak(SECOND / 100);
            assert_level(bucket.burst_level, left);
            assert_level(bucket.level, 0.0);
            assert_eq!(bucket.limit, Limit::average(150).burst(250, 2));
        }
    }

    /// QEMU's `/throttle/compute_wait`
    #[test]
    fn compute_wait() {
        let mut bucket = Bucket::new(Limit::NONE);
        bucket.level = level(1.0);
        assert_eq!(bucket.wait(), Duration::ZERO, "no limit");
        bucket.limit = Limit::average(150).burst(150, 1);
        for (units, wait) in [(150.0, 0.0), (75.0, 0.0), (150.5, 0.5)] {
            bucket.level = level(units);
            let wait = SECOND.mul_f64(wait / 150.0);
            assert!(bucket.wait().abs_diff(wait) < Duration::from_micros(1));
        }

        let mut bucket = Bucket::new(Limit::average(10).burst(200, 2));
        for tenth in 1..=22 {
            bucket.pour(level(20.0));
            bucket.leak(SECOND / 10);
            let wait = if tenth < 22 { 0 } else { 18 };
            assert_eq!(bucket.wait(), SECOND * wait / 10, "tenth {tenth}");
        }
    }

    /// QEMU's `/throttle/accounting`. There, buckets without a limit are
    /// filled too.
    #[test]
    fn accounting() {
        let limits = [Limit::average(150), Limit::average(1000).burst(2000, 2)];
        let sizes = [512, 1024, 64 * 512];
        for limit in limits {
            for (iops_size, operations) in [(0, [1.0; 3]), (13 * 512, [1.0, 1.0, 64.0 / 13.0])] {
                for (size, operations) in sizes.into_iter().zip(operations) {
                    let config = ThrottleConfig {
                        bps_total: limit,
                        bps_read: limit,
                        bps_write: limit,
                        iops_total: limit,
                        iops_read: limit,
                        iops_write: limit,
                        iops_size,
                    };
                    let mut buckets = Buckets::new(config, Duration::ZERO);
                    buckets.pour(Direction::Read, size);
                    buckets.pour(Direction::Write, size);
                    let pairs = [
                        (&buckets.read, 1.0),
                        (&buckets.write, 1.0),
                        (&buckets.total, 2.0),
                    ];
                    for (pair, times) in pairs {
                        assert_level(pair.bytes.level, times * size as f64);
                        assert_level(pair.ops.level, times * operations);
                    }
                }
            }
        }
    }
}
