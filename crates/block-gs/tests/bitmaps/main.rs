//! Dirty bitmaps of nodes: what users may do with them, what they note, and
//! that no write is forgotten while they change hands.

#[path = "../common/mod.rs"]
mod common;

mod kept;
mod noted;
mod owners;
mod racing;
mod support;
mod users;
