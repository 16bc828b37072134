//! Changes of the graph, one by one: who goes where, with which permissions,
//! and that a change which is refused has not happened.

#[path = "../common/mod.rs"]
mod common;

mod chains;
mod children;
mod homes;
mod limits;
mod perms;
