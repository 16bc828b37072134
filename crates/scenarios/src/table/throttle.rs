//! Throttling.

use super::{Scenario, differs, nearest, same, there};

const BUCKET: &str = "block-drivers/src/throttle/bucket.rs";

const TIMERS: &str = "a group has one timer for both directions, which exists while a request \
                      waits; that only one direction is limited follows from the limits";

const SIGN: &str = "rates are not signed: instead of -1 it is what is above the highest one, and \
                    the number of the same bits";

/// Throttling.
pub(super) const THROTTLE: &[Scenario] = &[
    there(same("/throttle/leak_bucket"), BUCKET, "leak_bucket"),
    there(same("/throttle/compute_wait"), BUCKET, "compute_wait"),
    nearest("/throttle/init_readonly", TIMERS),
    nearest("/throttle/init_writeonly", TIMERS),
    differs(
        "/throttle/have_timer",
        "nobody can see a timer: it exists while a request waits, and a request that waits is let \
         run when its time has come and nothing else happens",
    ),
    differs(
        "/throttle/detach_attach",
        "a node leaves its context in a drained section, in which nobody waits, so no timer has \
         to be moved; in the new context requests wait as before",
    ),
    same("/throttle/config/conflicting"),
    differs("/throttle/config/is_valid", SIGN),
    same("/throttle/config/max"),
    same("/throttle/config/iops_size"),
    there(
        differs(
            "/throttle/accounting",
            "a bucket without a limit stays empty, because nobody waits for it; with any limit \
             the levels are QEMU's",
        ),
        BUCKET,
        "accounting",
    ),
    differs(
        "/throttle/groups",
        "a node is a member of its group for as long as it exists; the group goes with its last \
         member and its name",
    ),
];
