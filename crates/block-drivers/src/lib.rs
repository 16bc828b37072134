//! Drivers: what nodes are made of.
//!
//! | driver | kind | shows how to |
//! |---|---|---|
//! | [`File`] | protocol | do real I/O, refuse a permission, agree with other processes |
//! | [`NullCo`], [`NullAio`] | protocol | complete at once, and later |
//! | [`Raw`] | format or pass-through | translate offsets, change data that requests read |
//! | [`Stats`] | filter | forward, and look at the outcome |
//! | [`Throttle`] | filter | wait, share state with other nodes, hear of drained sections |
//! | [`CopyOnRead`] | filter | ask for permissions of its own |
//! | [`Blkdebug`] | filter | hear what drivers above are doing, hold requests |
//! | [`Inject`] | filter | fail and delay requests, be told what to do while they run |
//!
//! # How to write one
//!
//! A driver is one type with two halves. The I/O half,
//! [`DriverIo`](block_io::DriverIo), runs on any thread and gets a counted
//! [`Request`](block_io::Request). The global-state half, [`BlockDriver`](block_gs::BlockDriver),
//! runs in the main loop and gets a [`BqlGuard`](block_gs::BqlGuard). Neither half can be called
//! with the other's proof, and no `unsafe` is needed. This filter fails reads
//! of one sector:
//!
//! ```
//! use std::cell::Cell;
//! use std::sync::Arc;
//!
//! use block_gs::{BlockDriver, BqlCell, BqlGuard, GraphError, Node, NodeBuilder, Role};
//! use block_io::{Destination, DriverIo, GraphCell, IoError, IoFuture, Request};
//!
//! pub struct BadSector {
//!     /// Requests read it, a drained section replaces it.
//!     bad: GraphCell<Option<u64>>,
//!     /// Only the main loop can reach it.
//!     drains: BqlCell<Cell<u32>>,
//! }
//!
//! impl BadSector {
//!     pub fn open(bql: &mut BqlGuard, name: &str, file: &Node) -> Result<Node, GraphError> {
//!         let node = NodeBuilder::new(name).child("file", file, Role::FILTERED | Role::PRIMARY);
//!         let bad = GraphCell::new(node.uid(), None);
//!         let drains = BqlCell::new(bql, Cell::new(0));
//!         node.open(bql, Arc::new(BadSector { bad, drains }))
//!     }
//! }
//!
//! impl DriverIo for BadSector {
//!     fn read<'r>(
//!         &'r self,
//!         request: Request<'r>,
//!         offset: u64,
//!         into: Destination<'r>,
//!     ) -> IoFuture<'r> {
//!         let end = offset + into.len() as u64;
//!         let hit = |at: u64| offset < at + 512 && at < end;
//!         if self.bad.get(request).is_some_and(hit) {
//!             return IoFuture::ready(Err(std::io::Error::from_raw_os_error(5).into()));
//!         }
//!         match request.file() {
//!             Ok(file) => file.read(offset, into),
//!             Err(error) => IoFuture::failed(error),
//!         }
//!     }
//!
//!     fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
//!         IoFuture::ready(request.file().map(|file| file.node().length()))
//!     }
//! }
//!
//! impl BlockDriver for BadSector {
//!     fn format_name(&self) -> &'static str {
//!         "bad-sector"
//!     }
//!     fn is_filter(&self) -> bool {
//!         true
//!     }
//!     fn drain_begin(&self, bql: &BqlGuard) {
//!         let drains = self.drains.get(bql);
//!         drains.set(drains.get() + 1);
//!     }
//! }
//!
//! # use block_drivers::NullCo;
//! # use block_gs::{Backend, BlockLayer, Perm};
//! # use block_io::Buffer;
//! # let layer = BlockLayer::new()?;
//! # layer.enter(|bql| -> Result<(), GraphError> {
//! # let null = NullCo::new(8192).open(bql, "null")?;
//! # let node = BadSector::open(bql, "bad", &null)?;
//! # let disk = Backend::new(bql, "disk", Perm::CONSISTENT_READ, Perm::all())?;
//! # disk.insert(bql, &node)?;
//! # let driver = node.driver::<BadSector>().expect("just made");
//! # let drains = driver.drains.get(bql).get();
//! # let mut buffer = Buffer::zeroed(512);
//! # bql.block_on(disk.root().read(4096, buffer.destination()))?;
//! # node.drain(bql).set(&driver.bad, Some(4096));
//! # bql.block_on(disk.root().read(4608, buffer.destination()))?;
//! # let failed = bql.block_on(disk.root().read(4096, buffer.destination()));
//! # assert_eq!(failed.expect_err("bad").errno(), 5);
//! # assert_eq!(driver.drains.get(bql).get(), drains + 1);
//! # Ok(())
//! # })?;
//! # Ok::<(), GraphError>(())
//! ```
//!
//! It does not implement `write`, so writes are answered with
//! [`NotSupported`](block_io::IoError::NotSupported).
//!
//! # What each half is promised, and owes
//!
//! The I/O half
//! * is called on several threads at once, for as long as requests last;
//! * may follow the edges below its node, and only through the request: they
//!   stay until the request ends;
//! * gets ranges that were checked: reads end within the node, writes where
//!   the node may grow to;
//! * must not block the thread: what waits goes into the returned future,
//!   what is done already is [`IoFuture::ready`](block_io::IoFuture::ready)
//!   and costs no allocation. Forwarding returns the child's future as it is;
//! * cannot change the graph. It asks the main loop to
//!   ([`MainLoop`](block_gs::MainLoop)).
//!
//! The global-state half
//! * is called in the main loop, one callback at a time;
//! * cannot poll where it gets `&BqlGuard`, hence sees nothing change;
//! * says what it needs of its children
//!   ([`child_perm`](block_gs::BlockDriver::child_perm)) and may refuse what its
//!   parents ask ([`check_perm`](block_gs::BlockDriver::check_perm));
//! * may let itself be reopened
//!   ([`reopen_prepare`](block_gs::BlockDriver::reopen_prepare)): what can fail fails
//!   while it gets ready, what is ready takes effect at once or not at all.
//!
//! # Where state goes
//!
//! | who reads, who writes | where |
//! |---|---|
//! | both halves read, nobody writes | a plain field |
//! | requests read, a drained section writes | [`GraphCell`](block_io::GraphCell), written by [`Drained::set`](block_gs::Drained::set), in a reopen by [`ReopenCommit::set`](block_gs::ReopenCommit::set) |
//! | only global-state code | [`BqlCell`](block_gs::BqlCell); with a [`Cell`](std::cell::Cell) inside, the callbacks that get `&BqlGuard` can write it |
//! | requests read and write | atomics, or a lock that is not held across `.await` |

#![forbid(unsafe_code)]

pub mod blkdebug;
mod commit;
mod copy_on_read;
pub mod file;
mod forward;
mod inject;
mod null;
mod options;
mod raw;
mod stats;
mod throttle;

pub use blkdebug::{Blkdebug, BlkdebugOptions};
pub use commit::{Commit, commit, commit_all};
pub use copy_on_read::{CopyOnRead, CopyOnReadOptions};
pub use file::{File, FileOptions, FileSettings};
pub use inject::{Chance, Inject, InjectOptions, Injected, Injector, RequestKind};
pub use null::{Null, NullAio, NullAioOptions, NullCo, NullCoOptions, NullOptions};
pub use raw::{Raw, RawOptions, RawSettings};
pub use stats::{Counters, Stats, StatsOptions, Tally};
pub use throttle::{
    Direction, Limit, Throttle, ThrottleConfig, ThrottleError, ThrottleGroup, ThrottleOptions,
    ThrottleOver, disable_io_limits, enable_io_limits, io_limits, set_io_limits,
    update_io_limits_group,
};
