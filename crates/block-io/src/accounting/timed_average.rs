//! Least, mean and greatest of the values of the last while.

/// Remembers no values: two windows of the same length begin half a length
/// apart, each value goes in both, and the older one is read. So an answer is
/// about the last half to whole length.
#[derive(Clone, Debug)]
pub(super) struct TimedAverage {
    length_ns: u64,
    windows: [Window; 2],
}

#[derive(Clone, Debug)]
struct Window {
    least: u64,
    greatest: u64,
    sum: u128,
    count: u64,
    ends_ns: u64,
}

impl Window {
    fn until(ends_ns: u64) -> Self {
        Window {
            least: u64::MAX,
            greatest: 0,
            sum: 0,
            count: 0,
            ends_ns,
        }
    }
}

/// What a [`TimedAverage`] knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Summary {
    pub least: u64,
    pub mean: u64,
    pub greatest: u64,
    pub sum: u128,
    /// How long the window has been open, in nanoseconds.
    pub elapsed_ns: u64,
}

impl TimedAverage {
    /// Of the last `length_ns` nanoseconds, at least one.
    pub fn new(length_ns: u64, now_ns: u64) -> Self {
        let length_ns = length_ns.max(1);
        let half = now_ns.saturating_add(length_ns / 2);
        let whole = now_ns.saturating_add(length_ns);
        TimedAverage {
            length_ns,
            windows: [Window::until(half), Window::until(whole)],
        }
    }

    pub fn length_ns(&self) -> u64 {
        self.length_ns
    }

    /// Begins anew the windows that have ended, in step with how they began.
    fn turn(&mut self, now_ns: u64) {
        for window in &mut self.windows {
            if window.ends_ns <= now_ns {
                let into = (now_ns - window.ends_ns) % self.length_ns;
                *window = Window::until(now_ns.saturating_add(self.length_ns - into));
            }
        }
    }

    pub fn account(&mut self, value: u64, now_ns: u64) {
        self.turn(now_ns);
        for window in &mut self.windows {
            window.least = window.least.min(value);
            window.greatest = window.greatest.max(value);
            window.sum += u128::from(value);
            window.count += 1;
        }
    }

    pub fn summary(&mut self, now_ns: u64) -> Summary {
        self.turn(now_ns);
        let [one, other] = &self.windows;
        let older = if one.ends_ns < other.ends_ns {
            one
        } else {
            other
        };
        let elapsed_ns = self.length_ns.saturating_sub(older.ends_ns - now_ns);
        if older.count == 0 {
            return Summary {
                elapsed_ns,
                ..Summary::default()
            };
        }
        let mean = older.sum / u128::from(older.count);
        Summary {
            least: older.least,
            mean: u64::try_from(mean).unwrap_or(u64::MAX),
            greatest: older.greatest,
            sum: older.sum,
            elapsed_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_a_length_is_forgotten() {
        let mut average = TimedAverage::new(100, 0);
        average.account(10, 0);
        average.account(30, 40);
        let summary = average.summary(40);
        assert_eq!(
            (summary.least, summary.mean, summary.greatest),
            (10, 20, 30)
        );
        // The first window has ended; the other one still has both.
        average.account(50, 60);
        let summary = average.summary(60);
        assert_eq!(
            (summary.least, summary.mean, summary.greatest),
            (10, 30, 50)
        );
        // Now the window that began at 50 is the older one.
        assert_eq!(average.summary(120).least, 50);
        assert_eq!(average.summary(1000).greatest, 0);
    }

    #[test]
    fn windows_keep_in_step_however_long_nobody_looked() {
        let mut average = TimedAverage::new(100, 0);
        assert_eq!(average.summary(1049).elapsed_ns, 99);
        assert_eq!(average.summary(1050).elapsed_ns, 50);
        assert_eq!(TimedAverage::new(0, 5).length_ns(), 1);
        assert_eq!(TimedAverage::new(9, u64::MAX).summary(u64::MAX).sum, 0);
    }
}
