//! What the injectors do, and the limits of the throttles.

use std::time::Duration;

use block_drivers::{Chance, Limit, RequestKind, ThrottleConfig};
use block_gs::BqlGuard;

use super::{Changer, Outcome};
use crate::stress::worker::INJECTED;

impl Changer {
    /// Lets requests fail or wait from now on, or leaves them alone.
    pub(super) fn change_trouble(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let choice = self.rng.below(5);
        if choice == 4 {
            return self.restrict(bql, number);
        }
        let held = &self.disks[number];
        self.begin(format!("trouble {choice} for '{}'", held.disk.name));
        let chance = Chance::once_in(self.rng.within(4..200) as u32);
        match choice {
            0 => held.injector.stop(),
            1 => {
                for kind in RequestKind::ALL {
                    held.injector.set_errors(kind, chance, INJECTED);
                }
            }
            2 => {
                let longest = Duration::from_micros(self.rng.within(50..2000));
                held.injector.set_delays(chance, longest);
                held.injector.set_later_turns(chance);
            }
            _ => {
                let config = some_limits(self.rng.below(4));
                held.throttle
                    .set_config(config)
                    .map_err(|error| error.to_string())?;
            }
        }
        Ok("trouble changed")
    }
}

/// Generous ones.
pub fn some_limits(choice: u64) -> ThrottleConfig {
    let mut config = ThrottleConfig::default();
    match choice {
        0 => {}
        1 => config.bps_total = Limit::average(400 << 20),
        2 => config.iops_total = Limit::average(20_000).burst(40_000, 1),
        _ => {
            config.bps_write = Limit::average(100 << 20);
            config.iops_read = Limit::average(30_000);
        }
    }
    config
}
