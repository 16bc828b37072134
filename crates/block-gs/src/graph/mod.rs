//! The graph as the main thread sees it: nodes, edges, backends, iothreads.
//!
//! Everything here is plain data behind the `BqlGuard`: no lock, no atomic.
//! What requests see of it is the I/O half that nodes and edges point to, and
//! that is written in one place only, [`write`](self::write).
//!
//! Objects live in arenas and refer to each other by generational keys. A key
//! of something that is gone finds nothing, so nothing here can dangle.

pub(crate) mod quiesce;
pub(crate) mod section;

#[allow(unsafe_code)]
pub(crate) mod write;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use block_common::{BlockLimits, GraphError, ParentDescription, Perm, Role};
use block_io::aio::ContextThread;
use block_io::{IoEdge, IoNode, PinnedMemory, Root};
use slotmap::{SlotMap, new_key_type};
use smallvec::SmallVec;

use crate::backend::{Backend, BackendHold};
use crate::bitmaps::NamedBitmap;
use crate::blocker::Blocker;
use crate::buffers::Buffers;
use crate::builder::NodeOptions;
use crate::context_notifier::Registered;
use crate::device::DeviceState;
use crate::driver::BlockDriver;
use crate::extension::Extensions;
use crate::node::NodeHold;
use crate::parent::EdgeParent;
use crate::reopen::Inherited;

new_key_type! {
    /// Finds a node in the graph.
    pub(crate) struct NodeKey;
    /// Finds an edge in the graph.
    pub(crate) struct EdgeKey;
    /// Finds a backend in the graph.
    pub(crate) struct BackendKey;
    /// Finds another kind of parent in the graph.
    pub(crate) struct ParentKey;
}

/// The parent side of an edge.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum ParentRef {
    Node(NodeKey),
    Backend(BackendKey),
    Other(ParentKey),
}

/// A node, the half of it that only the main thread sees
/// (`BlockDriverState`).
pub(crate) struct NodeState {
    pub io: Arc<IoNode>,
    pub driver: Arc<dyn BlockDriver>,
    /// Newest first.
    pub parents: SmallVec<[EdgeKey; 2]>,
    /// Oldest first.
    pub children: SmallVec<[EdgeKey; 2]>,
    /// Dirty bitmaps with a name, newest first.
    pub bitmaps: Vec<NamedBitmap>,
    /// Memory that the driver has been told of.
    pub buffers: Vec<PinnedMemory>,
    /// How many reasons there are for the node's parents to send nothing:
    /// open sections, and edges below it whose child is quiesced.
    pub quiesce: u32,
    /// The handles outside the graph, while there are any.
    pub hold: RefCell<Weak<NodeHold>>,
    pub monitor_owned: bool,
    pub writable: bool,
    pub inactive: bool,
    /// Put there by a job and not by a user.
    pub implicit: bool,
    /// Who does not want which operations, oldest first.
    pub blockers: Vec<Blocker>,
    /// Who wants to hear of moves to other contexts, oldest first.
    pub context_notifiers: Vec<Registered>,
    /// A copy of what requests see.
    pub limits: BlockLimits,
    pub force_share: bool,
    /// Links to this node must not be frozen.
    pub never_freeze: bool,
    /// The driver is in charge: it hears of drained sections, and is closed.
    pub opened: bool,
    /// Being deleted: nobody may attach to it any more.
    pub closing: bool,
    /// The driver has been flushed and closed, or has panicked then.
    pub farewell: bool,
    /// Greater than that of every node below. Only ever grows.
    pub rank: u64,
    /// The place in the order of creation.
    pub birth: u64,
    /// Scratch of walks over the graph; see [`Graph::next_walk`].
    pub walk: u64,
    /// From which parent it has options that nobody has given it.
    pub heritage: Option<Inherited>,
    /// What whoever made it keeps with it.
    pub description: Option<Box<dyn Any + Send>>,
}

/// An edge, the half of it that only the main thread sees (`BdrvChild`).
pub(crate) struct EdgeState {
    pub name: String,
    pub role: Role,
    pub parent: ParentRef,
    pub child: NodeKey,
    pub perm: Perm,
    pub shared: Perm,
    /// The edge has quiesced its parent because its child is quiesced.
    pub quiesced_parent: bool,
    /// How many frozen chains run through it.
    pub frozen: u32,
    pub io: Arc<IoEdge>,
}

/// A backend, the half of it that only the main thread sees
/// (`BlockBackend`).
pub(crate) struct BackendState {
    pub name: String,
    pub root: Root,
    pub edge: Option<EdgeKey>,
    pub perm: Perm,
    pub shared: Perm,
    pub allow_context_change: bool,
    /// Does nothing with its node, which another process owns.
    pub inactive: bool,
    /// Its node may be inactivated whatever it does.
    pub force_allow_inactivate: bool,
    pub hold: Weak<BackendHold>,
    /// The handle of the monitor, if that keeps it.
    pub monitor: Option<Backend>,
    pub device: Option<DeviceState>,
    /// What the device was last told.
    pub device_quiesced: Cell<bool>,
    /// The sections over everything that closed the root because it had no
    /// node, by how deep they nest.
    pub closed_at: SmallVec<[u32; 1]>,
    /// How its node was open, when that was last noted.
    pub root_state: NodeOptions,
}

/// A parent that is neither node nor backend, such as a job.
pub(crate) struct OtherParent {
    pub class: Arc<dyn EdgeParent>,
    pub edges: SmallVec<[EdgeKey; 2]>,
}

/// Everything behind the BQL.
#[derive(Default)]
pub(crate) struct Graph {
    pub nodes: SlotMap<NodeKey, NodeState>,
    pub edges: SlotMap<EdgeKey, EdgeState>,
    pub backends: SlotMap<BackendKey, BackendState>,
    pub others: SlotMap<ParentKey, OtherParent>,
    pub names: HashMap<String, NodeKey>,
    /// In the order of their creation.
    pub node_order: BTreeMap<u64, NodeKey>,
    /// Memory that drivers are told of.
    pub buffers: Buffers,
    pub iothreads: Vec<(String, ContextThread)>,
    /// Open sections over everything: what is born meanwhile is born
    /// quiesced.
    pub drain_all: u32,
    /// What others keep with the block layer.
    pub extensions: Extensions,
    /// Sections opened so far, for whoever counts them.
    pub sections: u64,
    /// How often the owner of a section has done I/O inside it.
    pub owner_io: u64,
    /// Devices attached so far.
    pub attachments: u64,
    /// How many times operations have been blocked.
    pub blockers: u64,
    /// How many notifiers of contexts have been registered.
    pub notifiers: u64,
    next_name: u64,
    births: u64,
    walk: u64,
}

impl Graph {
    pub fn node(&self, key: NodeKey) -> &NodeState {
        &self.nodes[key]
    }

    pub fn name(&self, key: NodeKey) -> &str {
        self.nodes[key].io.name()
    }

    /// How messages name a parent.
    pub fn describe(&self, parent: ParentRef) -> ParentDescription {
        match parent {
            ParentRef::Node(key) => ParentDescription::Node(self.name(key).to_owned()),
            ParentRef::Backend(key) => ParentDescription::Backend(self.backends[key].name.clone()),
            ParentRef::Other(key) => ParentDescription::Other(self.others[key].class.describe()),
        }
    }

    /// A name for a node that the user did not name: `#` is not allowed to
    /// users.
    pub fn automatic_name(&mut self) -> String {
        loop {
            self.next_name += 1;
            let name = format!("#block{}", self.next_name);
            if !self.names.contains_key(&name) {
                return name;
            }
        }
    }

    /// A mark for [`NodeState::walk`] that no node carries yet: walks mark
    /// what they have seen without a set beside the graph.
    pub fn next_walk(&mut self) -> u64 {
        self.walk += 1;
        self.walk
    }

    pub fn child_edge(&self, parent: NodeKey, name: &str) -> Option<EdgeKey> {
        let children = &self.nodes[parent].children;
        children
            .iter()
            .copied()
            .find(|&edge| self.edges[edge].name == name)
    }

    /// The edge to the node that this one filters.
    pub fn filter_edge(&self, node: NodeKey) -> Option<EdgeKey> {
        let children = &self.nodes[node].children;
        children
            .iter()
            .copied()
            .find(|&edge| self.edges[edge].role.contains(Role::FILTERED))
    }

    /// The edge to the backing image.
    pub fn cow_edge(&self, node: NodeKey) -> Option<EdgeKey> {
        let children = &self.nodes[node].children;
        children
            .iter()
            .copied()
            .find(|&edge| self.edges[edge].role.contains(Role::COW))
    }

    /// The edge down the backing chain: of the filter, or the backing image.
    pub fn chain_edge(&self, node: NodeKey) -> Option<EdgeKey> {
        self.filter_edge(node).or_else(|| self.cow_edge(node))
    }

    /// Whether `below` is `above` or somewhere below it. Walks up, so the cost
    /// is that of what lies between and above `below`.
    pub fn is_in_subtree(&mut self, below: NodeKey, above: NodeKey) -> bool {
        let mark = self.next_walk();
        let height = self.nodes[above].rank;
        let mut stack: SmallVec<[NodeKey; 8]> = SmallVec::from_slice(&[below]);
        while let Some(key) = stack.pop() {
            if key == above {
                return true;
            }
            let node = &mut self.nodes[key];
            let seen = std::mem::replace(&mut node.walk, mark) == mark;
            if seen || node.rank >= height {
                continue;
            }
            for &edge in &node.parents {
                if let ParentRef::Node(parent) = self.edges[edge].parent {
                    stack.push(parent);
                }
            }
        }
        false
    }

    /// Restores, after `parent` has got `child` below it, that ranks grow
    /// going up.
    pub fn raise(&mut self, parent: NodeKey, child: NodeKey) {
        let mut stack: SmallVec<[(NodeKey, u64); 8]> = SmallVec::new();
        stack.push((parent, self.nodes[child].rank + 1));
        while let Some((key, least)) = stack.pop() {
            let node = &mut self.nodes[key];
            if node.rank >= least {
                continue;
            }
            node.rank = least;
            for &edge in &node.parents {
                if let ParentRef::Node(parent) = self.edges[edge].parent {
                    stack.push((parent, least + 1));
                }
            }
        }
    }

    /// Registers a node under its name.
    pub fn insert_node(&mut self, mut state: NodeState) -> NodeKey {
        self.births += 1;
        state.birth = self.births;
        let name = state.io.name().to_owned();
        let key = self.nodes.insert(state);
        self.names.insert(name, key);
        self.node_order.insert(self.births, key);
        key
    }

    /// Removes a node that has no edges any more.
    pub fn remove_node(&mut self, key: NodeKey) {
        if let Some(node) = self.nodes.remove(key) {
            debug_assert!(node.parents.is_empty() && node.children.is_empty());
            self.names.remove(node.io.name());
            self.node_order.remove(&node.birth);
        }
    }

    /// All nodes, oldest first.
    pub fn all_nodes(&self) -> impl DoubleEndedIterator<Item = NodeKey> {
        self.node_order.values().copied()
    }

    /// A node on its way out takes no new parents.
    pub fn check_not_closing(&self, key: NodeKey) -> Result<(), GraphError> {
        if self.nodes[key].closing {
            return Err(GraphError::NodeClosing(self.name(key).to_owned()));
        }
        Ok(())
    }

    /// The node called `name`.
    pub fn node_by_name(&self, name: &str) -> Option<NodeKey> {
        self.names.get(name).copied()
    }

    pub fn backend_by_name(&self, name: &str) -> Option<BackendKey> {
        if name.is_empty() {
            return None;
        }
        self.backends
            .iter()
            .find(|(_, backend)| backend.name == name)
            .map(|(key, _)| key)
    }
}
