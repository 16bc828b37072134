//! The machinery below the proofs: counting, parking, waking, sleeping.
//!
//! A few small protocols carry every run-time guarantee of the request path.
//! They name their atomics and locks through [`block_common::sync`] only, so
//! that `loom-tests` explores this very code:
//!
//! * [`Gate`]: requests are counted in, a drain closes the gate and waits for
//!   the count to reach zero, late-comers park and are woken already counted;
//! * [`GatedCell`]: a value that counted requests read without a lock and
//!   that is replaced only while its gate is closed and idle;
//! * [`Doorbell`]: a wake-up that a loop about to sleep cannot miss, and
//!   [`Sleeper`]: how a loop uses it;
//! * [`Overlaps`]: requests that overlap wait for each other, in the order of
//!   their arrival;
//! * [`Pause`]: work that pauses when it is told to, and resumes once;
//!   [`Rest`]: how it sleeps without missing that;
//! * [`ledger`]: which gates a section over a node closes, and in which order
//!   the graph is written and parents are let go;
//! * [`moving`]: the order of the steps of a move to another loop.
//!
//! Each protocol is generic over [`Faults`]: a set of compile-time switches,
//! all off in what ships ([`NoFaults`]). A model turns one on to show that
//! the checker would notice the mistake.

mod doorbell;
mod faults;
mod gate;
#[allow(unsafe_code)]
mod gated_cell;
pub mod ledger;
pub mod moving;
mod overlaps;
mod pause;
mod rest;
mod sleeper;
mod wake_all;

pub use doorbell::Doorbell;
pub use faults::{Faults, NoFaults};
pub use gate::{Begin, Count, Gate, nth_shard, shard_count, thread_shard};
pub use gated_cell::GatedCell;
pub use overlaps::{Enter, Entered, Overlaps, Ticket};
pub use pause::{Pause, Working};
pub use rest::Rest;
pub use sleeper::Sleeper;
