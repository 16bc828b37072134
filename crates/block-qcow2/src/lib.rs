//! qcow2: an image that grows, over another one if it has to.
//!
//! | module | what |
//! |---|---|
//! | [`format`](mod@format) | what is stored: parsing and writing, without I/O |
//! | `geometry`, `options` | what follows from the header; what a user can say |
//! | `image` | what requests share, and the lock |
//! | `l1`, `cache`, `map` | where the bytes of the guest are, found without a lock |
//! | `dirty`, `places` | what of them is not stored |
//! | `clean` | caches of other sizes, and memory that goes back |
//! | `read`, `write`, `compressed`, `zero`, `status` | requests |
//! | `refs`, `grace`, `commit`, `flush` | what is free, since when, and in which order changes are stored |
//! | `overlap`, `check` | what must not be overwritten; looking for what is wrong |
//! | `truncate`, `snapshots`, `bitmaps`, `amend`, `recount`, `expand`, `manage`, `reopen` | changes of the image as a whole |
//! | `switch` | the one write that makes such a change |
//! | `create`, `open`, `driver` | making images, opening them, and what the layer asks |
//!
//! An image is read with [`Qcow2Image::read`], which says which other images it
//! needs, and opened with [`Qcow2Image::open`]. [`CreateOptions`] makes one.
//!
//! Requests come from any thread. Nothing here knows the graph but by the
//! request: the file is [`Request::file`](block_io::Request::file), what lies
//! below is [`Request::backing`](block_io::Request::backing).

#![forbid(unsafe_code)]

mod amend;
mod bitmaps;
mod cache;
mod check;
mod clean;
mod codec;
mod commit;
mod compressed;
mod create;
mod dirty;
mod driver;
mod expand;
mod flush;
pub mod format;
mod geometry;
mod grace;
mod image;
mod l1;
mod manage;
mod map;
mod open;
mod options;
mod overlap;
mod places;
mod read;
mod recount;
mod refs;
mod reopen;
mod snapshots;
mod status;
mod steps;
mod switch;
mod truncate;
mod write;
mod zero;
pub use check::{Qcow2Finding, Verdict};
pub use clean::Cached;
pub use create::CreateOptions;
pub use driver::Qcow2;
pub use open::{Qcow2Image, probe};
pub use options::{OverlapChecks, Qcow2Options};
