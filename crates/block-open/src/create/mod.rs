//! Making images.

mod driver;

pub use driver::{Create, CreateKind, CreateOption};
pub(crate) use driver::{Creating, How, Step, Work};
