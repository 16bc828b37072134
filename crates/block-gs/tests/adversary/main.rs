//! Attacks on the proofs; `design/adversary.md` has the table.

#[path = "../common/mod.rs"]
mod common;

mod check;
mod forge;
mod hooks;
mod misbehave;
mod panics;
mod program;
mod swap;
