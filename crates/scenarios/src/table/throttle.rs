//! Throttling.

use super::{Scenario, same};

/// Throttling.
pub(super) const THROTTLE: &[Scenario] = &[
    same("/throttle/leak_bucket"),
    same("/throttle/compute_wait"),
    same("/throttle/init_readonly"),
    same("/throttle/init_writeonly"),
    same("/throttle/have_timer"),
    same("/throttle/detach_attach"),
    same("/throttle/config/conflicting"),
    same("/throttle/config/is_valid"),
    same("/throttle/config/max"),
    same("/throttle/config/iops_size"),
    same("/throttle/accounting"),
    same("/throttle/groups"),
];
