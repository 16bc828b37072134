//! The part of the block layer that needs no proof.
//!
//! QEMU sorts its block-layer functions into *global state*, *I/O*, *I/O or
//! global state* and *common* (`include/block/block-common.h`). Common
//! functions touch no shared state, so any thread may call them and they ask
//! for no proof. Everything in this crate is of that kind:
//!
//! * [`Perm`] and [`Role`]: what a parent may do with a child, and what the
//!   child is for, with the [default rules](role::default_child_perms);
//! * [`GraphError`] and [`IoError`]: what can go wrong, in QEMU's words where
//!   QEMU has words for it;
//! * [`limits`]: which offsets and lengths a request may have;
//! * [`WriteFlags`], [`StatusFlags`]: what requests ask for and answer;
//! * [`bitmap`]: which parts of a node have been written, say;
//! * [`policy`]: what is done about requests that fail;
//! * [`names`], [`paths`]: what a node may be called, and file names;
//! * [`Value`]: options, and answers of drivers, as values;
//! * [`sync`]: the one place that names `std::sync` or its model-checked twin.
//!
//! The crate depends on nothing else of the block layer: dependencies point
//! `block-common` ← `block-io` ← `block-gs` ← the rest.

#![forbid(unsafe_code)]

pub mod bitmap;
pub mod error;
pub mod flags;
pub mod limits;
pub mod names;
pub mod paths;
pub mod perm;
pub mod policy;
pub mod role;
pub mod status;
pub mod sync;
pub mod value;

pub use error::{GraphError, IoError, ParentDescription};
pub use flags::{Preallocation, WriteFlags};
pub use limits::BlockLimits;
pub use perm::Perm;
pub use policy::{ErrorAction, IoStatus, OnError, Operation};
pub use role::Role;
pub use status::StatusFlags;
pub use value::Value;
