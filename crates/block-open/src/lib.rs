//! Opens graphs from options.
//!
//! A user describes a node as an object whose members are options, and whose
//! children are objects again:
//!
//! ```
//! use block_gs::BlockLayer;
//! use block_open::Options;
//!
//! let layer = BlockLayer::new()?;
//! layer.enter(|bql| {
//!     let options = Options::from_json(
//!         r#"{"driver": "raw", "node-name": "disk", "size": 4096,
//!             "file": {"driver": "null-co", "size": 8192}}"#,
//!     )?;
//!     let disk = block_open::open(bql, options)?;
//!     assert_eq!((disk.name(), disk.io().length()), ("disk", 4096));
//!
//!     // The same in the form of a command line, above the node that exists.
//!     let options = Options::parse("driver=stats,node-name=counted,file=disk")?;
//!     let counted = block_open::open(bql, options)?;
//!     assert_eq!(counted.io().length(), 4096);
//!
//!     let refused = block_open::open(bql, Options::parse("driver=raw,file=nobody")?);
//!     assert_eq!(
//!         refused.unwrap_err().to_string(),
//!         "Cannot find device='nobody' nor node-name='nobody'"
//!     );
//!     Ok::<(), block_open::OpenError>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! * [`Options`] is such an object, flat: `file.driver` is the `driver` of the
//!   child `file`. It is parsed from JSON and from `key=value,...`.
//! * [`open`] makes the node and whatever it needs below; [`add`] is
//!   `blockdev-add`: it checks like a schema and gives the node to the monitor.
//!   An [`Opener`] does both with some of the drivers only, and has warnings.
//! * [`ImageSpec`] makes an image as `qemu-img create` does, [`TypedImage`] as
//!   `blockdev-create`; [`probe`](fn@probe) says what an image is.
//! * [`reopen`] gives nodes other options and other children while they are in
//!   use: `blockdev-reopen`.
//! * [`for_filename`] turns what may stand for a file name (a path,
//!   `json:{...}`, `null-co://`) into options.
//! * [`add_object`] makes what nodes refer to by name: groups of limits.
//! * [`drivers`] lists what there is, with the options of each.
//!
//! # Adding a driver
//!
//! A module in `drivers` with a `static` [`Driver`]: its name, its options
//! with types and a line of documentation each, its children, a function
//! that makes the node, and one that says what can change while it is there. Then a line in the list of `drivers/mod.rs`. Parsing,
//! general options, children, inheritance and complaints about what the
//! driver does not know are done for it. A format says there too how its
//! images are made ([`Create`]) and recognised.

#![forbid(unsafe_code)]

mod create;
mod described;
mod drivers;
mod error;
mod filename;
mod flags;
mod general;
mod object;
mod opening;
mod options;
mod overlay;
mod probe;
mod reopen;
mod schema;
mod size;
mod temporary;
mod values;

pub use create::{
    Create, CreateKind, CreateOption, ImageSpec, PlannedImage, TypedImage, amendment,
    amendment_help, creation_help,
};
pub use drivers::{Child, Driver, Key, Kind, drivers, general_options};
pub use error::{OpenError, ParseError};
pub use filename::for_filename;
pub use flags::{CacheMode, parse_aio, parse_discard};
pub use general::inherit;
pub use object::add_object;
pub use opening::{Opener, Warning, add, open};
pub use options::{Options, Value};
pub use probe::probe;
pub use reopen::{change_options, reopen, set_read_only};
pub use size::{SizeError, parse_size};
pub use temporary::TemporaryFile;
