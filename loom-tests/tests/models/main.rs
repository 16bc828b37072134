//! The models: one file per area, each with the operations that race in its
//! header.

#![cfg(block_loom)]

mod cancel;
mod complete;
mod doorbell;
mod drain;
mod harness;
mod overlaps;
mod replace;
mod sections;
mod sleeping_drain;
