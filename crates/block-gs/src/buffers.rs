//! Memory that drivers are told of before requests use it.
//!
//! What should be registered follows from the graph: each registered buffer at
//! every node below its backend. So nothing is handed on from node to node.
//! Whoever gives a node parents asks [`tell_new`], inside the section and
//! before it decides: a driver may refuse. Whoever takes a node away asks
//! [`schedule`], and the main loop looks who need not know any more.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use block_common::GraphError;
use block_io::{Buffer, PinnedMemory};
use slotmap::{SlotMap, new_key_type};

use crate::graph::section::Scope;
use crate::graph::{BackendKey, Graph, NodeKey};
use crate::{Backend, BqlGuard, Node};

new_key_type! {
    /// Finds a registered buffer.
    pub(crate) struct BufferKey;
}

/// Which memory is to be known below which backend.
#[derive(Default)]
pub(crate) struct Buffers {
    wanted: SlotMap<BufferKey, Wanted>,
    /// How many times drivers have been told and not told otherwise.
    told: usize,
}

struct Wanted {
    backend: BackendKey,
    memory: PinnedMemory,
}

/// Memory that every driver below a backend knows of, so that it need not be
/// made ready for each request anew (`blk_register_buf`).
///
/// While this exists the memory stays, also when its [`Buffer`] is dropped, and
/// each node that comes below the backend is told of it before the first
/// request can get there. Dropping it lets the main loop tell the drivers to
/// forget the memory; [`end`](RegisteredBuffer::end) does it at once.
///
/// A request says by its memory whether it is registered:
/// [`Destination::is_registered_at`](block_io::Destination::is_registered_at).
#[must_use = "dropping it unregisters the buffer"]
pub struct RegisteredBuffer {
    backend: Backend,
    memory: PinnedMemory,
    key: BufferKey,
}

impl fmt::Debug for RegisteredBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegisteredBuffer({:?}, {:?})", self.backend, self.memory)
    }
}

impl Backend {
    /// Tells every driver below the backend of the buffer's memory, and from
    /// now on each that comes there (`blk_register_buf`).
    ///
    /// # Errors
    /// What the first driver says that refuses. Those that had agreed have been
    /// told to forget it.
    pub fn register_buffer(
        &self,
        bql: &mut BqlGuard,
        buffer: &Buffer,
    ) -> Result<RegisteredBuffer, GraphError> {
        let backend = self.key(bql);
        bql.reap();
        let memory = buffer.pinned();
        let wanted = Wanted {
            backend,
            memory: memory.clone(),
        };
        // The value exists before the first driver is asked: one that panics
        // leaves nothing registered either.
        let registered = RegisteredBuffer {
            backend: self.clone(),
            memory,
            key: bql.graph_mut().buffers.wanted.insert(wanted),
        };
        match tell_new(bql) {
            Ok(()) => Ok(registered),
            Err(error) => {
                registered.end(bql);
                Err(error)
            }
        }
    }
}

impl RegisteredBuffer {
    /// Below what the memory is known.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The memory.
    pub fn memory(&self) -> &PinnedMemory {
        &self.memory
    }

    /// Tells the drivers to forget the memory (`blk_unregister_buf`). Waits
    /// until no request is in flight where it is known: it takes the
    /// exclusive proof.
    pub fn end(self, bql: &mut BqlGuard) {
        self.backend.key(bql);
        bql.graph_mut().buffers.wanted.remove(self.key);
        forget_surplus(bql);
    }
}

impl Drop for RegisteredBuffer {
    fn drop(&mut self) {
        let key = self.key;
        self.backend.when_unused(move |bql, _| {
            if bql.graph_mut().buffers.wanted.remove(key).is_some() {
                forget_surplus(bql);
            }
        });
    }
}

/// All nodes below a backend.
fn below(graph: &Graph, backend: BackendKey) -> Vec<NodeKey> {
    let edge = graph.backends.get(backend).and_then(|state| state.edge);
    let mut found = Vec::from_iter(edge.map(|edge| graph.edges[edge].child));
    let mut seen: HashSet<NodeKey> = found.iter().copied().collect();
    let mut next = 0;
    while let Some(&key) = found.get(next) {
        next += 1;
        for &edge in &graph.nodes[key].children {
            let child = graph.edges[edge].child;
            if seen.insert(child) {
                found.push(child);
            }
        }
    }
    found
}

/// Tells each node of what it has not heard of. Called with no request under
/// way to those that are new. What is told although the change is undone is
/// taken back by [`schedule`].
///
/// # Errors
/// What the first driver says that refuses.
pub(crate) fn tell_new(bql: &mut BqlGuard) -> Result<(), GraphError> {
    let wanted = bql.graph().buffers.wanted.values();
    let wanted: Vec<_> = wanted
        .map(|wanted| (wanted.backend, wanted.memory.clone()))
        .collect();
    for (backend, memory) in wanted {
        for key in below(bql.graph(), backend) {
            let node = &bql.graph().nodes[key];
            if node.buffers.contains(&memory) {
                continue;
            }
            let (io, driver) = (Arc::clone(&node.io), Arc::clone(&node.driver));
            driver.register_buffer(bql, &memory)?;
            memory.set_registered(bql.access(), io.uid(), true);
            let graph = bql.graph_mut();
            graph.nodes[key].buffers.push(memory.clone());
            graph.buffers.told += 1;
        }
    }
    Ok(())
}

/// What nodes know of without need.
fn surplus(graph: &Graph) -> Vec<(NodeKey, PinnedMemory)> {
    if graph.buffers.told == 0 {
        return Vec::new();
    }
    let mut needed: HashMap<NodeKey, Vec<&PinnedMemory>> = HashMap::new();
    for wanted in graph.buffers.wanted.values() {
        for node in below(graph, wanted.backend) {
            needed.entry(node).or_default().push(&wanted.memory);
        }
    }
    let mut surplus = Vec::new();
    for (key, node) in &graph.nodes {
        for memory in &node.buffers {
            let is_needed = needed
                .get(&key)
                .is_some_and(|needed| needed.contains(&memory));
            if !is_needed && !node.closing {
                surplus.push((key, memory.clone()));
            }
        }
    }
    surplus
}

/// Lets the main loop look for what nodes need not know any more: that waits
/// for requests.
pub(crate) fn schedule(bql: &BqlGuard) {
    if bql.graph().buffers.told > 0 {
        let shared = bql.state().shared();
        shared.schedule_reap(Box::new(forget_surplus));
    }
}

/// Tells drivers to forget what they need not know, when no request is under
/// way that might use it: such memory may have come by another backend too.
fn forget_surplus(bql: &mut BqlGuard) {
    loop {
        let nodes: Vec<Node> = surplus(bql.graph())
            .iter()
            .map(|&(key, _)| Node::of(bql, key))
            .collect();
        if nodes.is_empty() {
            return;
        }
        let scope = Scope::open(bql, nodes);
        // What ran while we waited may have made some of it needed.
        for (key, memory) in surplus(scope.bql.graph()) {
            if scope.section.covers(key) {
                forget(scope.bql, key, &memory);
            }
        }
    }
}

/// Tells one driver to forget something.
fn forget(bql: &mut BqlGuard, key: NodeKey, memory: &PinnedMemory) {
    let node = bql.graph_mut().nodes.get_mut(key);
    let Some(node) = node.filter(|node| node.buffers.contains(memory)) else {
        return;
    };
    // Noted first: a callback that panics has been called.
    node.buffers.retain(|known| known != memory);
    let (uid, driver) = (node.io.uid(), Arc::clone(&node.driver));
    bql.graph_mut().buffers.told -= 1;
    memory.set_registered(bql.access(), uid, false);
    driver.unregister_buffer(bql, memory);
}

/// The node is being closed, in a section.
pub(crate) fn forget_all(bql: &mut BqlGuard, key: NodeKey) {
    while let Some(memory) = bql.graph().node(key).buffers.last().cloned() {
        forget(bql, key, &memory);
    }
}
