//! Short ways to what most scenarios begin with.

use std::sync::Arc;

use block_gs::{Backend, BlockLayer, BqlGuard, GraphError, Node, NodeBuilder, Perm, Role};
use block_io::aio::{AioContext, JoinHandle};
use block_io::{Buffer, IoError};

use crate::{Manner, TestDriver};

/// The length of most nodes in bytes.
pub const SIZE: usize = 64 * 1024;

/// Runs `scenario` in a block layer of its own.
pub fn in_layer<R>(scenario: impl FnOnce(&mut BqlGuard) -> R) -> R {
    BlockLayer::new().expect("a block layer").enter(scenario)
}

/// A node.
pub fn node(bql: &mut BqlGuard, name: &str, manner: Manner) -> (Node, Arc<TestDriver>) {
    let driver = Arc::new(TestDriver::new(manner));
    let node = NodeBuilder::new(name).open(bql, driver.clone());
    (node.expect("opened"), driver)
}

/// A node above another one.
///
/// # Errors
/// Those of [`NodeBuilder::open`].
pub fn try_above(
    bql: &mut BqlGuard,
    name: &str,
    manner: Manner,
    edge: &str,
    child: &Node,
    role: Role,
) -> Result<(Node, Arc<TestDriver>), GraphError> {
    let driver = Arc::new(TestDriver::new(manner));
    let builder = NodeBuilder::new(name).child(edge, child, role);
    Ok((builder.open(bql, driver.clone())?, driver))
}

/// As [`try_above`], where nothing is refused.
pub fn above(
    bql: &mut BqlGuard,
    name: &str,
    manner: Manner,
    edge: &str,
    child: &Node,
    role: Role,
) -> (Node, Arc<TestDriver>) {
    try_above(bql, name, manner, edge, child, role).expect("opened")
}

/// A node whose backing image is `backing`.
pub fn overlay(bql: &mut BqlGuard, name: &str, backing: &Node) -> (Node, Arc<TestDriver>) {
    let manner = Manner::overlay(SIZE);
    above(bql, name, manner, "backing", backing, Role::COW)
}

/// A backend that reads and writes, and lets others do anything.
pub fn backend(bql: &mut BqlGuard, name: &str, node: &Node) -> Backend {
    let perm = Perm::CONSISTENT_READ | Perm::WRITE;
    let backend = Backend::new(bql, name, perm, Perm::all()).expect("a backend");
    backend.insert(bql, node).expect("inserted");
    backend
}

/// How many reasons there are for the parents of `node` to send nothing
/// (`bs->quiesce_counter`).
pub fn quiesced(bql: &BqlGuard, node: &Node) -> u32 {
    node.view(bql).quiesce_count()
}

/// The name of the node below `edge` of `node`.
pub fn child_name(bql: &BqlGuard, node: &Node, edge: &str) -> Option<String> {
    let edge = node.view(bql).child(edge)?;
    Some(edge.child().name().to_owned())
}

/// A read through `front`, in flight when this returns. `driver` is the one
/// that it reaches.
pub fn begin_read(
    bql: &mut BqlGuard,
    front: &Backend,
    driver: &TestDriver,
    context: &AioContext,
) -> JoinHandle<Result<(), IoError>> {
    let before = driver.reads();
    let (root, main) = (front.root().clone(), bql.main_loop());
    let task = context.spawn(async move {
        let mut buffer = Buffer::zeroed(512);
        main.kick();
        root.read(0, buffer.destination()).await
    });
    while driver.reads() == before {
        bql.poll(block_io::aio::Wait::No);
        std::thread::yield_now();
    }
    task
}

/// A node with a backing image below and a backend above: what most scenarios
/// of drained sections begin with.
#[derive(Debug)]
pub struct Pair {
    /// The backend.
    pub front: Backend,
    /// The node below it, `test-node`.
    pub top: Node,
    /// Its driver.
    pub top_driver: Arc<TestDriver>,
    /// The backing image, `backing`.
    pub base: Node,
    /// Its driver.
    pub base_driver: Arc<TestDriver>,
}

impl Pair {
    /// Makes them. A read of the node waits for a drained section.
    pub fn new(bql: &mut BqlGuard) -> Pair {
        let (base, base_driver) = node(bql, "backing", Manner::of(SIZE));
        let manner = Manner {
            reads_wait_for_drain: true,
            ..Manner::overlay(SIZE)
        };
        let (top, top_driver) = above(bql, "test-node", manner, "backing", &base, Role::COW);
        Pair {
            front: backend(bql, "test-blk", &top),
            top,
            top_driver,
            base,
            base_driver,
        }
    }

    /// Quiesce counters of node and backing image.
    pub fn quiesced(&self, bql: &BqlGuard) -> (u32, u32) {
        (quiesced(bql, &self.top), quiesced(bql, &self.base))
    }

    /// How often the drivers of node and backing image are drained.
    pub fn drain_counts(&self) -> (i64, i64) {
        (
            self.top_driver.drain_count(),
            self.base_driver.drain_count(),
        )
    }
}
