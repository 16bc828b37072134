//! The I/O half of the block layer.
//!
//! Code in this crate runs on any thread: on iothreads, and on the main
//! thread between two global-state operations. It cannot name the proof that
//! global-state code holds, because that proof lives in `block-gs` and the
//! dependency points the other way. An I/O function that tried to change the
//! graph would not compile, in whatever way it tried.
//!
//! # The proof of an I/O function: the counted request
//!
//! ```text
//! Root::begin().await ──► InFlight ──► Request ──► Request (of a child) ──► …
//!        │                   │             │
//!   waits while the     counted once    borrows; reads the graph below
//!   root is quiesced    at the root     without a lock
//! ```
//!
//! A [`Request`] borrows an [`InFlight`], which is counted in the gate of its
//! [`Root`]. The graph below a root is written only when every root above the
//! written node is quiesced and its count is zero. So for as long as a
//! `Request` exists the edges below it stay as they are, and following them
//! needs no lock, no reference count and no check:
//!
//! ```
//! use block_io::{Buffer, InFlight, IoError};
//!
//! async fn first_sector(request: &InFlight<'_>) -> Result<Buffer, IoError> {
//!     let mut buffer = Buffer::zeroed(512);
//!     request.request()?.read(0, buffer.destination()).await?;
//!     Ok(buffer)
//! }
//! ```
//!
//! # Where things are
//!
//! * [`aio`]: event loops, tasks, timers, file descriptors, io_uring.
//! * [`engine`]: counting, parking and waking, model-checked with loom.
//! * [`Root`], [`InFlight`], [`Request`]: how a request enters and descends.
//! * [`IoNode`], [`IoEdge`]: the graph as requests see it.
//! * [`GraphCell`]: data of a driver that requests read and a drained section
//!   replaces.
//! * [`DriverIo`]: what a driver does with requests.
//! * [`accounting`]: what a device counts of its requests.
//! * [`Events`]: what backends tell, in any thread; [`DeviceIo`]: what they ask
//!   of a device.
//! * [`file`](mod@file): transfers between a file and a buffer.
//! * [`dirty`]: which parts of a node have been written.
//! * [`block_ioctl`]: what only block devices do.
//! * [`Buffer`]: memory that outlives what the kernel does with it.

#![deny(unsafe_code)]

pub mod accounting;
mod after;
pub mod aio;
#[allow(unsafe_code)]
pub mod block_ioctl;
pub mod buffer;
mod damages;
pub mod dirty;
mod driver;
#[allow(unsafe_code)]
mod edge;
pub mod engine;
mod events;
pub mod file;
mod front;
mod future;
#[allow(unsafe_code)]
mod graph_cell;
#[allow(unsafe_code)]
mod gs_access;
mod linger;
mod node;
mod operations;
#[allow(unsafe_code)]
mod request;
mod resizes;
#[allow(unsafe_code)]
mod root;
mod root_io;
pub mod signposts;
mod status_cache;
mod turn;

pub use block_common::{
    BlockLimits, ErrorAction, IoError, IoStatus, OnError, Operation, Perm, Preallocation,
    StatusFlags, WriteFlags,
};
pub use buffer::{Buffer, Destination, DestinationVec, PinnedMemory, Source, SourceVec};
pub use damages::{Damage, Damages};
pub use driver::{Capabilities, CopyEnd, DriverIo, Truncation};
pub use edge::{Children, IoEdge};
pub use events::{
    BackendEvent, BlockIoError, DeviceTrayMoved, Events, ImageCorrupted, Listening, Machine,
};
pub use front::{AttachedDevice, DeviceIdentity, DeviceIo};
pub use future::IoFuture;
pub use graph_cell::GraphCell;
pub use gs_access::GsAccess;
pub use node::{IoNode, NodeFlags, NodeIdentity, NodeUid, OnThreshold};
pub use operations::{
    AmendProgress, AmendReady, BackingName, BlockStatus, CheckResult, Clusters, DriverInfo,
    Finding, Findings, Repairs, ScsiCommand, ScsiReply, ScsiTransfer, Unheard, Zone, ZoneKind,
    ZoneOperation, ZoneState,
};
pub use request::{Activity, Request};
pub use resizes::Resizes;
pub use root::{InFlight, Root};
pub use root_io::{CopyTarget, DeviceLimits, RangeStatus};
