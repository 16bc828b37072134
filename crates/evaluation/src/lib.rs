//! The evidence that the layering holds, gathered on one page:
//! `design/evaluation.md`.
//!
//! The prose of the page is written by hand. Its tables lie between marks
//! (`<!-- generated: name -->`) and are made from what they are about, so that
//! they cannot say something else than the repository does:
//!
//! | module | table |
//! |---|---|
//! | [`matrix`] | rules: what C, its annotations and QEMU's Rust cells do about each, and what is done here |
//! | [`diagnostics`] | what the compiler says |
//! | [`models`] | what the model checker explored |
//! | [`census`] | `unsafe`, and what it rests on |
//! | [`findings`] | recorded violations, and the cases that replay them |
//! | [`excerpts`] | tables of other pages: scenarios, costs |
//! | [`breakages`] | rules broken on purpose, and what turned red |
//!
//! `cargo run -p evaluation` writes all of it anew; a test compares what costs
//! no time.

#![forbid(unsafe_code)]

pub mod breakages;
pub mod census;
pub mod diagnostics;
pub mod error;
pub mod excerpts;
pub mod findings;
pub mod matrix;
pub mod models;
pub mod page;
pub mod tree;

pub use error::Failure;
