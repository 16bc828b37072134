//! Making images.
//!
//! | module | what |
//! |---|---|
//! | `driver` | what the table of drivers says about it |
//! | `amend` | what `qemu-img amend` does: options of an image that is there |
//! | `given` | what `-o` says, by the options of a format and a protocol |
//! | `by_name` | what `qemu-img create` does: a file name and options |
//! | `typed` | what `blockdev-create` does: typed options, a file that is open |
//! | `make` | the steps of both |

mod amend;
mod by_name;
mod driver;
mod given;
mod make;
#[cfg(test)]
mod tests;
mod typed;

pub use amend::{amendment, amendment_help};
pub use by_name::{ImageSpec, PlannedImage, creation_help};
pub use driver::{Create, CreateKind, CreateOption};
pub(crate) use driver::{Creating, How, Work};
pub(crate) use make::make_beside;
pub use typed::TypedImage;
