//! `stats`.

use block_common::Role;
use block_drivers::Stats;

use super::{Child, Driver, Reopen};

pub(super) static STATS: Driver = Driver {
    name: "stats",
    about: "a filter that counts requests",
    options: &[],
    children: &[Child {
        name: "file",
        role: Role::FILTERED.union(Role::PRIMARY),
        required: true,
        about: "whose requests are counted",
    }],
    protocol: None,
    is_format: false,
    probe: None,
    create: None,
    compresses: false,
    open: |opening| {
        let stats = Stats::over(&opening.child("file")?).options(opening.general().node);
        opening.make(|bql, name| stats.open(bql, name))
    },
    reopen: Reopen::NOTHING,
};
