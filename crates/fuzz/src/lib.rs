//! Hostile input.
//!
//! Everything that comes from a file or from a user's hands is given bytes
//! that nobody wrote on purpose. A [`Target`] is a plain function of bytes that
//! panics when something is wrong; `tests/` calls it with a corpus and with
//! mutations of that, `targets/` lets libFuzzer look for bytes that are worse.
//!
//! | module | what |
//! |---|---|
//! | [`memory`] | a file in memory |
//! | [`image`] | what is done with an image, and what is demanded |
//! | [`sane`] | whether an image is fit for the stricter demands |
//! | [`skeleton`] | a valid image that an input changes |
//! | [`targets`] | the functions |
//! | [`gauge`] | how much memory that takes |
//! | [`mutate`] | changes to inputs |
//! | [`plan`] | small decisions from bytes |

#![forbid(unsafe_code)]

pub mod gauge;
pub mod image;
pub mod memory;
pub mod mutate;
pub mod plan;
pub mod sane;
pub mod skeleton;
pub mod targets;

pub use targets::{TARGETS, Target};
