//! The global-state half of the block layer.
//!
//! A block layer is a graph of nodes (disk images, filters, protocols).
//! Several iothreads send requests through it while the main thread changes
//! it. QEMU sorts the functions that do the one and the other into *I/O* and
//! *global state*, by header, macro and audit. Here they differ in the proof
//! they take, so mixing them up does not compile.
//!
//! # The proofs
//!
//! | proof | says | comes from | asked for by |
//! |---|---|---|---|
//! | [`&BqlGuard`](BqlGuard) | this thread holds the BQL | the main loop lends it | what reads global state |
//! | [`&mut BqlGuard`](BqlGuard) | and nobody borrows from the graph | the same | what may poll |
//! | [`Drained`] | the node is quiesced, nothing is in flight above it | [`Node::drain`] | every write to the graph |
//! | [`InFlight`](block_io::InFlight) → [`Request`](block_io::Request) | a drained section over the node waits for me | [`Root::begin`](block_io::Root::begin), [`Drained::io`] | all I/O |
//! | [`HomeThread`](block_io::aio::HomeThread) | on the event loop of this AioContext | that loop lends it | with `BqlGuard`, behind [`MainOrHome`]: what waits for I/O |
//!
//! # An example
//!
//! Two files, one below a running backend; the other takes its place while
//! requests go on.
//!
//! ```
//! use block_drivers::NullCo;
//! use block_gs::{Backend, BlockLayer, GraphError, IoThread, Perm};
//! use block_io::Buffer;
//!
//! let layer = BlockLayer::new()?;
//! layer.enter(|bql| -> Result<(), GraphError> {
//!     let one = NullCo::new(1 << 20).open(bql, "one")?;
//!     let two = NullCo::new(1 << 20).open(bql, "two")?;
//!     let disk = Backend::new(bql, "disk", Perm::CONSISTENT_READ, Perm::all())?;
//!     disk.insert(bql, &one)?;
//!
//!     // Any thread may do I/O; it needs no `BqlGuard`, and could not get one.
//!     let iothread = IoThread::create(bql, "io0")?;
//!     let root = disk.root().clone();
//!     let reader = iothread.context().spawn(async move {
//!         let mut buffer = Buffer::zeroed(4096);
//!         for sector in 0..100 {
//!             root.read(sector * 512, buffer.destination()).await?;
//!         }
//!         Ok::<_, block_io::IoError>(())
//!     });
//!
//!     // Writing the graph takes a drained section of the node it is about.
//!     one.drain(bql).replace_with(&two)?;
//!
//!     bql.block_on(reader)?;
//!     assert_eq!(disk.node(bql), Some(two));
//!     Ok(())
//! })?;
//! # Ok::<(), GraphError>(())
//! ```
//!
//! Without the proof it does not compile:
//!
//! ```compile_fail,E0061
//! # use block_gs::Node;
//! async fn in_an_iothread(node: Node) {
//!     node.drain(); // argument #1 of type `&mut BqlGuard` is missing
//! }
//! ```
//!
//! # Where things are
//!
//! * [`BlockLayer`], [`BqlGuard`], [`MainLoop`], [`BqlCell`]: the main thread
//!   and its proof.
//! * [`Node`], [`Backend`], [`Parent`], [`EdgeId`]: owned handles;
//!   [`NodeView`], [`EdgeView`]: what is borrowed from the graph.
//! * [`Drained`], [`DrainedSet`], [`DrainedAll`]: sections;
//!   [`Transaction`]: several changes at once; [`FrozenChain`]: links that
//!   must stay; [`DrainedBackend`]: a backend, with a medium or without.
//! * [`DirtyBitmap`], [`FrozenBitmap`], [`WriteTracker`]: which parts of a
//!   node have been written.
//! * [`DeviceOps`], [`Attachment`]: whom a backend works for;
//!   [`RegisteredBuffer`]: memory that drivers are told of before.
//! * [`NodeView`] has the ways down a chain; [`top_nodes`], [`Walk`]: walks
//!   over nodes, also while things change.
//! * [`OpBlock`]: operations that somebody does not want. [`Node::activate`],
//!   [`Node::inactivate`]: images that change hands. [`snapshot`]: snapshots
//!   inside images.
//! * [`NodeBuilder`], [`BlockDriver`]: making nodes, and what they are made
//!   of.
//! * [`IoThread`], [`MainOrHome`]: other threads.

#![deny(unsafe_code)]

mod activation;
mod backend;
mod backend_drain;
mod backend_names;
mod bitmaps;
mod blocker;
#[allow(unsafe_code)]
mod bql;
mod buffers;
mod builder;
mod chain;
mod context_change;
mod context_notifier;
mod create;
mod debug;
mod device;
mod drain;
mod driver;
mod extension;
mod frozen;
mod graph;
mod home;
mod image;
mod iothread;
mod iterate;
mod layer;
mod limits;
mod naming;
mod node;
#[allow(unsafe_code)]
mod owner_io;
mod parent;
mod permissions;
mod reap;
mod rename;
mod reopen;
mod shutdown;
pub mod signposts;
pub mod snapshot;
mod transaction;

pub use activation::{activate_all, inactivate_all};
pub use backend::{Backend, backends};
pub use backend_drain::DrainedBackend;
pub use backend_names::{named_backends, next_backend, remove_all_media};
pub use bitmaps::{
    BitmapBackup, BitmapInfo, BitmapOptions, BitmapUse, BitmapView, DirtyBitmap, FrozenBitmap,
    StoredState, WriteTracker,
};
pub use block_common::bitmap::BitmapError;
pub use block_common::role::{ParentState, PermPair};
pub use block_common::{BlockLimits, GraphError, IoError, Perm, Role, Value};
pub use blocker::{OpBlock, Operations};
pub use bql::{BqlCell, BqlGuard};
pub use buffers::RegisteredBuffer;
pub use builder::{DetectZeroes, NodeBuilder, NodeOptions};
pub use context_notifier::{ContextNotification, ContextNotifier};
pub use create::{CreateImage, Creation, NewImage};
pub use debug::{Breakpoints, GraphPicture, PictureEdge, PictureKind, PicturePlace, graph_picture};
pub use device::{Attachment, DeviceOps, RemovableOps, tell_resized};
pub use drain::{Drained, DrainedAll, DrainedSet, drain_all, drain_many, sections_opened};
pub use driver::{BlockDriver, ChildPermQuery};
pub use frozen::FrozenChain;
pub use home::{MainOrHome, WaitError};
pub use image::{Amendment, BlockSizes, DiskGeometry, Measurement, NodeInfo};
pub use iothread::{IoThread, iothreads};
pub use iterate::{Walk, flush_all, monitor_owned_nodes, named_nodes, top_nodes};
pub use layer::{BlockLayer, EnterError, MainLoop, MainLoopGone};
pub use naming::HeaderBacking;
pub use node::{EdgeId, EdgeView, Node, NodeView, nodes};
pub use parent::{EdgeParent, Parent};
pub use reopen::{AfterReopen, Heritage, PreparedReopen, ReopenCommit, ReopenOptions, ReopenTo};
pub use snapshot::{SnapshotInfo, SnapshotKey, Snapshots};
pub use transaction::Transaction;
