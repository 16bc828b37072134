//! What nodes offer besides requests and changes of the graph: chains, walks,
//! blocked operations, activation, and what their drivers know.

#[path = "../common/mod.rs"]
mod common;

mod activation;
mod blocker;
mod chain;
mod context;
mod format;
mod intermediate;
mod knowledge;
mod snapshot;
mod walk;
