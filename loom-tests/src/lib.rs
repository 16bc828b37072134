//! The harness of the model checks. See `README.md` for how to run them.
//!
//! Loom runs a small concurrent program once for every interleaving, and for
//! every value that the memory model lets a load return. The programs here,
//! the *models*, use the engine that ships (`block_io::engine`), compiled
//! against loom's atomics and locks by `--cfg block_loom`.
//!
//! A model that passes proves little unless it would have failed. Each one
//! therefore names *mutants*: the same engine with one mistake switched on
//! (`block_io::engine::Faults`). A mutant must fail, and in the expected way.
//!
//! Beside the engine the models run nodes, roots, edges, cells, event loops
//! and tasks of `block_io` as they ship. Not proved: what lies beyond the bound
//! of a model, and `block_gs`, whose graph stays on one thread. What it has of
//! decisions about other threads is in the engine.
//!
//! Without the cfg this crate is empty, apart from the test that starts the
//! models.

#![deny(unsafe_code)]

#[cfg(block_loom)]
#[allow(unsafe_code)]
mod bytes;
#[cfg(block_loom)]
mod event_loop;
#[cfg(block_loom)]
mod executor;
#[cfg(block_loom)]
mod explore;
#[cfg(block_loom)]
#[allow(unsafe_code)]
mod graph;
#[cfg(block_loom)]
mod model;
#[cfg(block_loom)]
#[allow(unsafe_code)]
mod moving;
#[cfg(block_loom)]
pub mod mutants;
#[cfg(block_loom)]
mod results;
#[cfg(block_loom)]
#[allow(unsafe_code)]
mod root;

#[cfg(block_loom)]
pub use {
    block_io::engine::{Count, Faults, Gate, NoFaults, Overlaps},
    bytes::Bytes,
    event_loop::EventLoop,
    executor::{block_on, cancel_after},
    explore::{Bound, model, must_fail, spawn},
    graph::{Graph, Shared},
    model::{Blind, Failure, Model, Mutant, blind, check, killed},
    moving::{RealLoop, move_root},
    root::Root,
};
