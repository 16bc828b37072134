//! What the test suites share.
//!
//! | module | what |
//! |---|---|
//! | `layer` | a block layer of its own for a test, with a directory if it wants one |
//! | `disk` | short ways to attach to a node and to do I/O |
//! | `numbers` | numbers of chance and bytes to write, the same each time |
//! | `room` | places with little room, to run out of it |
//! | [`stored`] | what is stored in a qcow2 image, to be looked at and damaged |
//! | `tool` | QEMU's own tools, and what becomes of a test without them |
//! | `answers` | two programs that were given the same line |
//! | [`page`] | pages of the repository that are made of something |
//!
//! Suites depend on it for tests alone. It stands on `block-gs` and names no
//! driver, so that every crate from there on can use it. It is not for
//! `block-common` and `block-io`, which name nothing above them, nor for
//! `ui-tests`: the compiler suggests what a case could import, and what it says
//! there is kept.
//!
//! What a test is not about panics here, as it would in the test.

#![forbid(unsafe_code)]

mod answers;
mod disk;
mod layer;
mod numbers;
pub mod page;
mod room;
pub mod stored;
mod tool;

pub use answers::assert_alike;
pub use disk::{
    READ_WRITE, UNTOUCHED, backend, disk, flush, read, read_as_parent, write, write_as_parent,
};
pub use layer::{in_layer, in_layer_with_files};
pub use numbers::{Random, pattern};
pub use room::{Little, little_room, with_little_room};
pub use tool::{Tool, skip};
