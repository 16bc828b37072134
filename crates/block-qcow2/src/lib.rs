//! The qcow2 format.
pub mod format;
mod cache; mod check; mod codec; mod commit; mod compressed; mod create; mod dirty; mod driver; mod flush; mod geometry; mod grace; mod image; mod l1; mod manage; mod map; mod open; mod options; mod read; mod refs; mod snapshots; mod status; mod truncate; mod write; mod zero;
pub use create::CreateOptions;
pub use driver::Qcow2;
pub use open::{Qcow2Image, probe};
pub use options::{OverlapChecks, Qcow2Options};
