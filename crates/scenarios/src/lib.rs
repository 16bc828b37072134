//! QEMU's unit tests of its block layer, replayed here.
//!
//! QEMU 10.0.2 tests drained sections, graph changes, event loops and
//! throttling by scenarios: set this up, do that, the outcome is so. Those
//! that mean something here are replayed on real threads, under names that
//! follow from theirs: `/bdrv-drain/driver-cb/drain_all` is
//! `driver_cb_drain_all` in `tests/bdrv_drain`. What is shared is the scenario
//! and what must come out of it; the tests are written for this block layer.
//!
//! * [`table`]: which scenarios there are, and what became of each. The table
//!   in `README.md` is made from it, and `tests/table.rs` checks it against
//!   the sources.
//! * [`TestDriver`], [`Job`]: what the scenarios are played with.
//! * [`Watch`]: state that tasks on several threads wait for.

#![forbid(unsafe_code)]

mod driver;
mod fixture;
mod job;
pub mod table;
mod watch;

pub use driver::{LATENCY, Manner, TestDriver};
pub use fixture::{
    Pair, SIZE, above, backend, begin_read, child_name, in_layer, node, overlay, quiesced,
    try_above,
};
pub use job::{Ends, Failing, Job};
pub use watch::Watch;
