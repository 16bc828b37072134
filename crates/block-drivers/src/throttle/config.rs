//! What a group is limited to, and which limits make sense together.

use std::fmt;

use block_common::GraphError;
use block_common::error::errno;

use super::Direction;

/// One limit: so many bytes or operations a second, and how far above that a
/// burst may go (`LeakyBucket`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// A second, in the long run (`bps-total` and its kin). 0 is no limit.
    pub avg: u64,
    /// A second, in a burst (`bps-total-max`). 0 lets a burst have a tenth of
    /// a second's worth of `avg`.
    pub max: u64,
    /// For how many seconds a burst may go at `max`
    /// (`bps-total-max-length`). At least 1.
    pub burst_length: u32,
}

impl Limit {
    /// No limit.
    pub const NONE: Limit = Limit::average(0);

    /// `avg` a second, without bursts worth the name.
    pub const fn average(avg: u64) -> Limit {
        Limit {
            avg,
            max: 0,
            burst_length: 1,
        }
    }

    /// Lets bursts go at `max` a second for `burst_length` seconds.
    pub const fn burst(self, max: u64, burst_length: u32) -> Limit {
        Limit {
            max,
            burst_length,
            ..self
        }
    }

    fn check(self) -> Result<(), ThrottleError> {
        let Limit {
            avg,
            max,
            burst_length,
        } = self;
        if avg > ThrottleConfig::MAX_VALUE || max > ThrottleConfig::MAX_VALUE {
            return Err(ThrottleError::OutOfRange);
        }
        if burst_length == 0 {
            return Err(ThrottleError::NoBurstLength);
        }
        if burst_length > 1 && max == 0 {
            return Err(ThrottleError::BurstWithoutRate);
        }
        if max != 0 && u64::from(burst_length) > ThrottleConfig::MAX_VALUE / max {
            return Err(ThrottleError::BurstTooLong);
        }
        if max != 0 && avg == 0 {
            return Err(ThrottleError::MaxWithoutAverage);
        }
        if max != 0 && max < avg {
            return Err(ThrottleError::MaxBelowAverage);
        }
        Ok(())
    }
}

impl Default for Limit {
    fn default() -> Self {
        Limit::NONE
    }
}

/// The limits of a group (`ThrottleConfig`, `ThrottleLimits` in QAPI). By
/// default there are none.
///
/// Printed as QEMU's options, those that are set.
///
/// ```
/// use block_drivers::{Limit, ThrottleConfig};
///
/// let config = ThrottleConfig {
///     bps_write: Limit::average(1_000_000).burst(5_000_000, 3),
///     ..ThrottleConfig::default()
/// };
/// assert!(config.validate().is_ok());
/// assert_eq!(
///     config.to_string(),
///     "bps-write=1000000,bps-write-max=5000000,bps-write-max-length=3"
/// );
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ThrottleConfig {
    /// Bytes read and written (`bps-total`, `bps-total-max`,
    /// `bps-total-max-length`).
    pub bps_total: Limit,
    /// Bytes read (`bps-read`, `bps-read-max`, `bps-read-max-length`).
    pub bps_read: Limit,
    /// Bytes written (`bps-write`, `bps-write-max`, `bps-write-max-length`).
    pub bps_write: Limit,
    /// Reads and writes (`iops-total`, `iops-total-max`,
    /// `iops-total-max-length`).
    pub iops_total: Limit,
    /// Reads (`iops-read`, `iops-read-max`, `iops-read-max-length`).
    pub iops_read: Limit,
    /// Writes (`iops-write`, `iops-write-max`, `iops-write-max-length`).
    pub iops_write: Limit,
    /// A request of more bytes than this counts as several operations, in
    /// proportion (`iops-size`). 0 counts each as one.
    pub iops_size: u64,
}

impl ThrottleConfig {
    /// The highest rate (`THROTTLE_VALUE_MAX`).
    pub const MAX_VALUE: u64 = 1_000_000_000_000_000;

    /// Whether a group can have these limits (`throttle_is_valid`).
    ///
    /// # Errors
    /// What is wrong with them, the first thing in QEMU's order.
    pub fn validate(&self) -> Result<(), ThrottleError> {
        let clash = |total: Limit, read: Limit, write: Limit| {
            (total.avg != 0 && (read.avg != 0 || write.avg != 0))
                || (total.max != 0 && (read.max != 0 || write.max != 0))
        };
        if clash(self.bps_total, self.bps_read, self.bps_write)
            || clash(self.iops_total, self.iops_read, self.iops_write)
        {
            return Err(ThrottleError::TotalAndOther);
        }
        let iops = [self.iops_total, self.iops_read, self.iops_write];
        if self.iops_size != 0 && iops.iter().all(|limit| limit.avg == 0) {
            return Err(ThrottleError::SizeWithoutIops);
        }
        self.limits()
            .iter()
            .try_for_each(|(_, limit)| limit.check())
    }

    /// Whether requests of this direction may have to wait.
    pub fn limits_direction(&self, direction: Direction) -> bool {
        let (bps, iops) = match direction {
            Direction::Read => (self.bps_read, self.iops_read),
            Direction::Write => (self.bps_write, self.iops_write),
        };
        let all = [self.bps_total, self.iops_total, bps, iops];
        all.iter().any(|limit| limit.avg != 0)
    }

    /// All six with their option names, in QEMU's order.
    fn limits(&self) -> [(&'static str, Limit); 6] {
        [
            ("bps-total", self.bps_total),
            ("bps-read", self.bps_read),
            ("bps-write", self.bps_write),
            ("iops-total", self.iops_total),
            ("iops-read", self.iops_read),
            ("iops-write", self.iops_write),
        ]
    }
}

impl fmt::Display for ThrottleConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut option = |name: &str, suffix: &str, value: u64| {
            write!(f, "{separator}{name}{suffix}={value}")?;
            separator = ",";
            Ok(())
        };
        for (name, limit) in self.limits() {
            if limit.avg != 0 {
                option(name, "", limit.avg)?;
            }
            if limit.max != 0 {
                option(name, "-max", limit.max)?;
            }
            if limit.burst_length != 1 {
                option(name, "-max-length", limit.burst_length.into())?;
            }
        }
        if self.iops_size != 0 {
            option("iops-size", "", self.iops_size)?;
        }
        Ok(())
    }
}

/// Why limits are refused, in QEMU's words.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[must_use = "the limits are as they were"]
pub enum ThrottleError {
    /// Both `bps-total` and `bps-read` or `bps-write` are set, or the like.
    #[error("bps/iops/max total values and read/write values cannot be used at the same time")]
    TotalAndOther,
    /// `iops-size` alone.
    #[error("iops size requires an iops value to be set")]
    SizeWithoutIops,
    /// A rate above [`ThrottleConfig::MAX_VALUE`].
    #[error(
        "bps/iops/max values must be within [0, {}]",
        ThrottleConfig::MAX_VALUE
    )]
    OutOfRange,
    /// A burst of no seconds.
    #[error("the burst length cannot be 0")]
    NoBurstLength,
    /// A burst of several seconds at no rate.
    #[error("burst length set without burst rate")]
    BurstWithoutRate,
    /// A burst of more than [`ThrottleConfig::MAX_VALUE`] altogether.
    #[error("burst length too high for this burst rate")]
    BurstTooLong,
    /// A burst above no limit.
    #[error("bps_max/iops_max require corresponding bps/iops values")]
    MaxWithoutAverage,
    /// A burst that is slower than the limit.
    #[error("bps_max/iops_max cannot be lower than bps/iops")]
    MaxBelowAverage,
    /// A group of the name is registered already.
    #[error("attempt to add duplicate property '{0}' to object (type 'container')")]
    DuplicateGroup(String),
    /// No group is registered under the name.
    #[error("Throttle group '{0}' does not exist")]
    NoSuchGroup(String),
}

impl From<ThrottleError> for GraphError {
    fn from(error: ThrottleError) -> Self {
        GraphError::Refused {
            message: error.to_string(),
            errno: errno::EINVAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut ThrottleConfig)) -> ThrottleError {
        let mut config = ThrottleConfig::default();
        change(&mut config);
        config.validate().expect_err("makes no sense")
    }

    #[test]
    fn each_contradiction_is_named() {
        use ThrottleError as E;
        let some = Limit::average(5);
        let mixed = refused(|c| (c.bps_total, c.bps_write) = (some, some));
        assert_eq!(mixed, E::TotalAndOther);
        let mixed = refused(|c| {
            c.iops_total.max = 7;
            c.iops_read = some.burst(6, 1);
        });
        assert_eq!(mixed, E::TotalAndOther);
        let size = refused(|c| (c.bps_total, c.iops_size) = (some, 512));
        assert_eq!(size, E::SizeWithoutIops);
        let beyond = ThrottleConfig::MAX_VALUE + 1;
        assert_eq!(refused(|c| c.iops_read.avg = beyond), E::OutOfRange);
        assert_eq!(refused(|c| c.iops_write.max = beyond), E::OutOfRange);
        assert_eq!(refused(|c| c.bps_read.burst_length = 0), E::NoBurstLength);
        assert_eq!(
            refused(|c| c.bps_read.burst_length = 2),
            E::BurstWithoutRate
        );
        let long = some.burst(ThrottleConfig::MAX_VALUE, 2);
        assert_eq!(refused(|c| c.bps_write = long), E::BurstTooLong);
        assert_eq!(refused(|c| c.bps_write.max = 5), E::MaxWithoutAverage);
        assert_eq!(
            refused(|c| c.bps_write = some.burst(4, 1)),
            E::MaxBelowAverage
        );
    }

    #[test]
    fn what_makes_sense_is_accepted() {
        let highest = Limit::average(ThrottleConfig::MAX_VALUE);
        let config = ThrottleConfig {
            bps_total: highest.burst(ThrottleConfig::MAX_VALUE, 1),
            iops_read: Limit::average(1).burst(1, 1_000_000),
            iops_write: Limit::average(5).burst(5, 1),
            iops_size: u64::MAX,
            ..ThrottleConfig::default()
        };
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(ThrottleConfig::default().validate(), Ok(()));
        assert_eq!(ThrottleConfig::default().to_string(), "");
    }

    #[test]
    fn a_total_limits_both_directions_and_the_others_their_own() {
        let limits = |config: ThrottleConfig| {
            [Direction::Read, Direction::Write].map(|way| config.limits_direction(way))
        };
        let mut config = ThrottleConfig::default();
        assert_eq!(limits(config), [false, false]);
        config.iops_write.avg = 1;
        assert_eq!(limits(config), [false, true]);
        config.bps_total.avg = 1;
        assert_eq!(limits(config), [true, true]);
    }
}
