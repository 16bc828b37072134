//! Which thread a value may be on, and whether there can be two of it.

use std::mem::size_of;

use block_gs::{
    Backend, BitmapView, BlockLayer, BqlCell, BqlGuard, DirtyBitmap, Drained, DrainedAll,
    DrainedSet, EdgeId, EdgeView, FrozenBitmap, FrozenChain, IoThread, MainLoop, Node, NodeView,
    Parent, Transaction, WriteTracker,
};
use block_io::aio::{AioContext, ContextThread, EventLoop, HomeThread, JoinHandle};
use block_io::dirty::BitmapReader;
use block_io::{
    Activity, Buffer, Destination, DestinationVec, GraphCell, GsAccess, InFlight, IoEdge, IoFuture,
    IoNode, NodeIdentity, Request, Root, Source, SourceVec,
};
use block_jobs::{CreatedJob, Job, JobBackend, JobContext, JobTransaction, PauseHold};
use static_assertions::{assert_impl_all, assert_not_impl_any, const_assert_eq};

// Proofs of the main thread: on it, and once.
assert_not_impl_any!(BqlGuard: Send, Sync, Clone, Copy, Default);
assert_not_impl_any!(Drained<'static>: Send, Sync, Clone, Copy, Default);
assert_not_impl_any!(DrainedSet<'static>: Send, Sync, Clone, Copy, Default);
assert_not_impl_any!(DrainedAll<'static>: Send, Sync, Clone, Copy, Default);
assert_not_impl_any!(Transaction<'static>: Send, Sync, Clone, Copy, Default);
assert_not_impl_any!(BlockLayer: Send, Sync, Clone, Copy, Default);
assert_not_impl_any!(GsAccess: Send, Sync, Clone, Copy, Default);

// What is borrowed from the graph stays on the main thread with the guard.
// It may be copied: the copies borrow the guard as well.
assert_not_impl_any!(NodeView<'static>: Send, Sync, Default);
assert_not_impl_any!(EdgeView<'static>: Send, Sync, Default);
assert_not_impl_any!(BitmapView<'static>: Send, Sync, Default);

// Proofs of a home thread: on it, and once.
assert_not_impl_any!(HomeThread<'static>: Send, Sync, Clone, Copy, Default);
assert_not_impl_any!(EventLoop: Send, Sync, Clone, Copy, Default);

// Owned handles: everywhere.
assert_impl_all!(Node: Send, Sync, Clone);
assert_impl_all!(Backend: Send, Sync, Clone);
assert_impl_all!(EdgeId: Send, Sync, Copy);
assert_impl_all!(Parent: Send, Sync);
assert_impl_all!(FrozenChain: Send, Sync);
assert_impl_all!(DirtyBitmap: Send, Sync, Clone);
assert_impl_all!(FrozenBitmap: Send, Sync);
assert_impl_all!(WriteTracker: Send, Sync);
assert_impl_all!(BitmapReader: Send, Sync, Clone);
assert_impl_all!(MainLoop: Send, Sync, Clone);
assert_impl_all!(IoThread: Send, Sync, Clone);
assert_impl_all!(AioContext: Send, Sync, Clone);
assert_impl_all!(ContextThread: Send);
assert_impl_all!(JoinHandle<u8>: Send);

// A freeze is undone once, an edge list has one owner.
assert_not_impl_any!(FrozenChain: Clone, Copy, Default);
assert_not_impl_any!(FrozenBitmap: Clone, Copy, Default);
assert_not_impl_any!(WriteTracker: Clone, Copy, Default);
assert_not_impl_any!(Parent: Clone, Copy, Default);

// The I/O side goes where the request goes.
assert_impl_all!(Root: Send, Sync, Clone);
assert_impl_all!(IoNode: Send, Sync);
assert_impl_all!(IoEdge: Send, Sync);
assert_impl_all!(Request<'static>: Send, Sync, Copy);
assert_impl_all!(InFlight<'static>: Send, Sync);
assert_impl_all!(Activity: Send, Sync);
assert_impl_all!(IoFuture<'static, ()>: Send);
assert_impl_all!(Buffer: Send);
assert_impl_all!(Destination<'static>: Send);
assert_impl_all!(Source<'static>: Send, Copy);
assert_impl_all!(DestinationVec<'static>: Send);
assert_impl_all!(SourceVec<'static>: Send, Clone);

// Whoever may write to memory is the only one.
assert_not_impl_any!(Destination<'static>: Clone, Copy);
assert_not_impl_any!(DestinationVec<'static>: Clone, Copy);

// Jobs: handles everywhere, one right to start, one context on one thread at a
// time.
assert_impl_all!(Job: Send, Sync, Clone);
assert_impl_all!(JobTransaction: Send, Sync, Clone);
assert_impl_all!(CreatedJob: Send);
assert_not_impl_any!(CreatedJob: Clone, Copy, Default);
assert_impl_all!(JobContext<'static>: Send);
assert_not_impl_any!(JobContext<'static>: Sync, Clone, Copy, Default);
assert_not_impl_any!(JobBackend: Clone, Copy, Default);
assert_not_impl_any!(PauseHold: Clone, Copy, Default);

// A count is given back once; an identity is one node's.
assert_not_impl_any!(InFlight<'static>: Clone, Copy, Default);
assert_not_impl_any!(Activity: Clone, Copy, Default);
assert_not_impl_any!(NodeIdentity: Clone, Copy, Default);
assert_not_impl_any!(Request<'static>: Default);

// Cells: as far as their contents allow.
assert_impl_all!(BqlCell<std::cell::Cell<u8>>: Send, Sync);
assert_not_impl_any!(BqlCell<std::rc::Rc<u8>>: Send, Sync);
assert_impl_all!(GraphCell<u64>: Send, Sync);
assert_not_impl_any!(GraphCell<std::cell::Cell<u8>>: Sync);
assert_not_impl_any!(GraphCell<std::rc::Rc<u8>>: Send, Sync);

// A proof costs nothing where it is one argument, and little where it is two.
const_assert_eq!(size_of::<BqlGuard>(), 0);
const_assert_eq!(size_of::<GsAccess>(), 0);
const_assert_eq!(size_of::<Request<'static>>(), 2 * size_of::<usize>());
const_assert_eq!(size_of::<HomeThread<'static>>(), size_of::<usize>());
const_assert_eq!(size_of::<Node>(), size_of::<usize>());
const_assert_eq!(size_of::<Option<Node>>(), size_of::<usize>());
const_assert_eq!(size_of::<Backend>(), size_of::<usize>());
