//! Nodes that are reopened, several at a time, with their children and under
//! one refresh of permissions.

#[path = "../common/mod.rs"]
mod common;

mod order;
mod panics;
mod read_only;
mod running;
mod scribe;
