//! What the cases share, and the checks of the cases themselves.
//!
//! A case is a small program in `cases/<id>-<what>`. It stands outside the
//! library crates and so sees what a user sees; of this crate it takes the
//! [`fixtures`] only. The other modules read the cases and what the compiler
//! said about them.
//!
//! `README.md` has the layout, the table of rules and how to add a case.

#![forbid(unsafe_code)]

pub mod fixtures;
pub mod jobs;
pub mod reasons;
pub mod shapes;
pub mod suite;
pub mod table;

pub use fixtures::*;
pub use jobs::*;
