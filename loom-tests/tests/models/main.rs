//! The models: one file per area, each with the operations that race in its
//! header.

#![cfg(block_loom)]

mod cancel;
mod complete;
mod doorbell;
mod drain;
mod graph;
mod harness;
mod moving;
mod overlaps;
mod pause;
mod replace;
mod sections;
mod sleeping_drain;
