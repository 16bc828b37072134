//! The graph as requests see it: nodes and the edges below them.
//!
//! No name, permission rule, parent or option of the global state is here.
//! `block-gs` keeps those beside, under its own proof, and shares exactly
//! this half with requests.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use block_common::Perm;
use smallvec::SmallVec;

use crate::aio::{AioContext, Home, JoinHandle};
use crate::engine::Gate;
use crate::{DriverIo, GraphCell, GsAccess};

/// Identifies a node for as long as the process lives: never used twice, in
/// whichever block layer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeUid(u64);

/// The right to be the node with a certain [`NodeUid`].
///
/// Cells are opened by comparing identities, so no two nodes may share one:
/// it is not `Clone`, and making the node uses it up.
#[derive(Debug)]
pub struct NodeIdentity(NodeUid);

impl NodeIdentity {
    /// An identity that no node has had.
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NodeIdentity(NodeUid(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Which node it will be: for the cells of its driver.
    pub fn uid(&self) -> NodeUid {
        self.0
    }
}

/// A node, the half of it that requests use (`BlockDriverState`).
pub struct IoNode {
    /// For what is counted at the node itself and may outlive a borrow of it.
    this: Weak<IoNode>,
    uid: NodeUid,
    name: String,
    driver: Arc<dyn DriverIo>,
    children: GraphCell<Children>,
    /// Counts what the node does on its own account. Requests from above are
    /// counted at their root and not here.
    gate: Gate,
    home: Arc<Home>,
    length: AtomicU64,
    writable: AtomicBool,
}

impl fmt::Debug for IoNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IoNode({})", self.name)
    }
}

impl IoNode {
    /// A node without children and of length 0, at home in `context`.
    pub fn new(
        identity: NodeIdentity,
        name: &str,
        driver: Arc<dyn DriverIo>,
        context: AioContext,
        writable: bool,
    ) -> Arc<IoNode> {
        let uid = identity.uid();
        Arc::new_cyclic(|this| IoNode {
            this: this.clone(),
            uid,
            name: name.to_owned(),
            driver,
            children: GraphCell::new(uid, Children::default()),
            gate: Gate::new(1),
            home: Arc::new(Home::new(context)),
            length: AtomicU64::new(0),
            writable: AtomicBool::new(writable),
        })
    }

    /// The node, owned.
    pub(crate) fn to_owned(&self) -> Arc<IoNode> {
        self.this
            .upgrade()
            .expect("somebody borrows the node, so it is owned")
    }

    /// Which node this is.
    pub fn uid(&self) -> NodeUid {
        self.uid
    }

    /// The name, for messages (`bdrv_get_node_name`).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The driver's I/O half.
    pub fn driver(&self) -> &dyn DriverIo {
        &*self.driver
    }

    /// Where the node's own file descriptors, timers and bottom halves live
    /// (`bdrv_get_aio_context`). Requests run where they are submitted.
    pub fn context(&self) -> AioContext {
        self.home.context()
    }

    /// Runs `task` in the node's context, and in the new one after the node
    /// has moved.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.home.spawn(task)
    }

    /// Moves the node's home (`bdrv_attach_aio_context`).
    pub fn set_context(&self, _gs: &GsAccess, context: AioContext) {
        self.home.set(context);
    }

    /// Keeps the node from beginning anything on its own account.
    pub fn close(&self, _gs: &GsAccess) {
        self.gate.close();
    }

    /// Takes one [`close`](IoNode::close) back.
    ///
    /// # Panics
    /// When there was none.
    pub fn open(&self, _gs: &GsAccess) {
        self.gate.open();
    }

    /// How many activities of the node's own are in flight.
    pub fn in_flight(&self) -> u64 {
        self.gate.in_flight()
    }

    /// Ready when none is; see [`Gate::poll_idle`].
    pub fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.gate.poll_idle(cx)
    }

    /// The door in front of the node's own activities.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The length in bytes as of the last look (`bs->total_sectors`, which
    /// counts sectors).
    pub fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// Notes a length that has been found out.
    pub(crate) fn set_length(&self, bytes: u64) {
        self.length.store(bytes, Ordering::Release);
    }

    /// Notes that a write has reached `end`.
    pub(crate) fn grow_to(&self, end: u64) {
        self.length.fetch_max(end, Ordering::AcqRel);
    }

    /// Whether the node is open for writing (`!bdrv_is_read_only`).
    pub fn is_writable(&self) -> bool {
        self.writable.load(Ordering::Relaxed)
    }

    /// Notes whether the node is open for writing.
    pub fn set_writable(&self, _gs: &GsAccess, writable: bool) {
        self.writable.store(writable, Ordering::Relaxed);
    }

    pub(crate) fn children_cell(&self) -> &GraphCell<Children> {
        &self.children
    }
}

/// An edge as requests see it: which node, with which permissions
/// (`BdrvChild`).
#[derive(Debug)]
pub struct IoEdge {
    name: String,
    node: Arc<IoNode>,
    perm: AtomicU8,
}

impl IoEdge {
    /// An edge called `name` to `node`.
    pub fn new(name: &str, node: Arc<IoNode>, perm: Perm) -> Arc<Self> {
        Arc::new(IoEdge {
            name: name.to_owned(),
            node,
            perm: AtomicU8::new(perm.bits()),
        })
    }

    /// The name: `file`, `backing`, `root`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node below.
    pub fn node(&self) -> &Arc<IoNode> {
        &self.node
    }

    /// What requests through this edge may do.
    pub fn perm(&self) -> Perm {
        Perm::from_bits_truncate(self.perm.load(Ordering::Relaxed))
    }

    /// Notes what the permission system granted. Requests in flight keep what
    /// they had.
    pub fn set_perm(&self, _gs: &GsAccess, perm: Perm) {
        self.perm.store(perm.bits(), Ordering::Relaxed);
    }
}

/// The edges below a node.
#[derive(Clone, Debug, Default)]
pub struct Children {
    file: Option<Arc<IoEdge>>,
    backing: Option<Arc<IoEdge>>,
    others: SmallVec<[Arc<IoEdge>; 2]>,
}

impl Children {
    /// Sorts the edges by name.
    pub fn new(edges: impl IntoIterator<Item = Arc<IoEdge>>) -> Self {
        let mut children = Children::default();
        for edge in edges {
            match edge.name() {
                "file" => children.file = Some(edge),
                "backing" => children.backing = Some(edge),
                _ => children.others.push(edge),
            }
        }
        children
    }

    /// The edge called `file`.
    pub fn file(&self) -> Option<&IoEdge> {
        self.file.as_deref()
    }

    /// The edge called `backing`.
    pub fn backing(&self) -> Option<&IoEdge> {
        self.backing.as_deref()
    }

    /// The edge called `name`.
    pub fn get(&self, name: &str) -> Option<&IoEdge> {
        self.iter().find(|edge| edge.name() == name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &IoEdge> {
        let named = self.file.iter().chain(self.backing.iter());
        named.chain(self.others.iter()).map(|edge| &**edge)
    }
}

#[cfg(all(test, not(block_loom)))]
pub(crate) mod tests {
    use super::*;
    use crate::aio::EventLoop;
    use crate::{Destination, IoError, IoFuture, Request};

    struct Null;

    impl DriverIo for Null {
        fn read<'r>(
            &'r self,
            _request: Request<'r>,
            _offset: u64,
            mut into: Destination<'r>,
        ) -> IoFuture<'r, Result<(), IoError>> {
            into.fill(0xdd);
            IoFuture::ready(Ok(()))
        }

        fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, Result<u64, IoError>> {
            IoFuture::ready(Ok(1024))
        }
    }

    pub(crate) fn null_node(name: &str) -> Arc<IoNode> {
        let context = EventLoop::new("test")
            .expect("an event loop")
            .context()
            .clone();
        let node = IoNode::new(NodeIdentity::fresh(), name, Arc::new(Null), context, true);
        node.set_length(1024);
        node
    }

    #[test]
    fn children_are_found_by_name() {
        let edge = |name: &str| IoEdge::new(name, null_node(name), Perm::empty());
        let children = Children::new([edge("x"), edge("backing"), edge("file")]);
        assert_eq!(children.file().expect("file").node().name(), "file");
        assert_eq!(children.get("x").expect("x").node().name(), "x");
        assert!(children.get("y").is_none());
        let order: Vec<_> = children.iter().map(IoEdge::name).collect();
        assert_eq!(order, ["file", "backing", "x"]);
    }
}
