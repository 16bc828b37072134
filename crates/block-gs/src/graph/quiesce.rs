//! Counting quiesced sections up the graph.
//!
//! Quiescing goes up, never down. A node that is quiesced quiesces, through
//! each parent edge, the parent; at the top that closes the gate of a root,
//! and no request enters. The children of a quiesced node are not quiesced,
//! they just see nothing from it.
//!
//! The arithmetic is [`block_io::engine::ledger`]'s, which is model-checked.
//! Here it is applied to the graph.
//!
//! Counting and callbacks are separate: the counters are changed in one go,
//! which nobody can observe, and the callbacks run afterwards with a shared
//! `BqlGuard`. They can look at the graph but not change it, nor poll.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use block_io::aio::Wait;
use block_io::engine::NoFaults;
use block_io::engine::ledger::{self, Above, AboveOf, Due, Dues, Ledger};
use block_io::{IoNode, Root};
use smallvec::SmallVec;

use super::{BackendKey, EdgeKey, Graph, NodeKey, ParentKey, ParentRef};
use crate::driver::BlockDriver;
use crate::parent::EdgeParent;
use crate::{BqlGuard, device};

/// How many sections may be open over one node. Sections can be forgotten, and
/// a counter that wraps would let requests into one that is open. What a node
/// counts besides, quiesced edges and sections over everything, fits above.
const MAX_SECTIONS: u32 = 1 << 30;
const TOO_MANY_SECTIONS: &str = "too many drained sections have been forgotten";

/// What remains to be done after the counters have changed.
enum Effect {
    CloseNode(Arc<IoNode>),
    OpenNode(Arc<IoNode>),
    CloseRoot(Root, BackendKey),
    OpenRoot(Root, BackendKey),
    DriverBegin(Arc<dyn BlockDriver>),
    DriverEnd(Arc<dyn BlockDriver>),
    ParentBegin(Arc<dyn EdgeParent>),
    ParentEnd(Arc<dyn EdgeParent>),
}

/// Effects of one change, in the order in which they are due.
#[derive(Default)]
#[must_use = "counters and gates must change together"]
pub(crate) struct Effects(SmallVec<[Effect; 8]>);

impl Effects {
    /// Adds what is due after these.
    pub fn append(&mut self, later: Effects) {
        self.0.extend(later.0);
    }

    /// Moves gates and runs callbacks, in order.
    pub fn run(self, bql: &BqlGuard) {
        Remaining {
            effects: self.0.into_iter(),
            bql,
        }
        .run();
    }
}

/// Effects not yet run. A callback that panics does not keep the others from
/// running: gates and counters would no longer agree.
struct Remaining<'b> {
    effects: smallvec::IntoIter<[Effect; 8]>,
    bql: &'b BqlGuard,
}

impl Remaining<'_> {
    fn run(&mut self) {
        let access = self.bql.access();
        for effect in self.effects.by_ref() {
            match effect {
                Effect::CloseNode(node) => node.close(access),
                Effect::OpenNode(node) => node.open(access),
                Effect::CloseRoot(root, key) => {
                    root.close(access);
                    device::tell_quiesced(self.bql, key);
                }
                Effect::OpenRoot(root, key) => {
                    root.open(access);
                    device::tell_quiesced(self.bql, key);
                }
                Effect::DriverBegin(driver) => driver.drain_begin(self.bql),
                Effect::DriverEnd(driver) => driver.drain_end(self.bql),
                Effect::ParentBegin(parent) => parent.drained_begin(self.bql),
                Effect::ParentEnd(parent) => parent.drained_end(self.bql),
            }
        }
    }
}

impl Drop for Remaining<'_> {
    fn drop(&mut self) {
        self.run();
    }
}

impl Ledger for Graph {
    type Node = NodeKey;
    type Edge = EdgeKey;
    type Root = BackendKey;
    type Other = ParentKey;

    fn reasons(&mut self, node: NodeKey) -> &mut u32 {
        &mut self.nodes[node].quiesce
    }

    fn edges_above(&mut self, node: NodeKey, mut each: impl FnMut(&mut bool, AboveOf<Self>)) {
        for &edge in &self.nodes[node].parents {
            let edge = &mut self.edges[edge];
            each(&mut edge.quiesced_parent, above(edge.parent));
        }
    }

    fn edge(&mut self, edge: EdgeKey) -> (&mut bool, AboveOf<Self>) {
        let edge = &mut self.edges[edge];
        (&mut edge.quiesced_parent, above(edge.parent))
    }

    fn sections_over_all(&mut self) -> &mut u32 {
        &mut self.drain_all
    }

    fn nodes(&self) -> Vec<NodeKey> {
        self.all_nodes().collect()
    }
}

fn above(parent: ParentRef) -> AboveOf<Graph> {
    match parent {
        ParentRef::Node(key) => Above::Node(key),
        ParentRef::Backend(key) => Above::Root(key),
        ParentRef::Other(key) => Above::Other(key),
    }
}

impl Graph {
    /// What the ledger says is due, with what it is due to.
    fn effects(&self, dues: Dues<Graph>) -> Effects {
        let node = |key: NodeKey| Arc::clone(&self.nodes[key].io);
        let root = |key: BackendKey| self.backends[key].root.clone();
        let class = |key: ParentKey| Arc::clone(&self.others[key].class);
        let driver = |key: NodeKey| {
            let node = &self.nodes[key];
            node.opened.then(|| Arc::clone(&node.driver))
        };
        let effect = |due| {
            Some(match due {
                Due::CloseNode(key) => Effect::CloseNode(node(key)),
                Due::OpenNode(key) => Effect::OpenNode(node(key)),
                Due::CloseRoot(key) => Effect::CloseRoot(root(key), key),
                Due::OpenRoot(key) => Effect::OpenRoot(root(key), key),
                Due::DriverBegin(key) => Effect::DriverBegin(driver(key)?),
                Due::DriverEnd(key) => Effect::DriverEnd(driver(key)?),
                Due::ParentBegin(key) => Effect::ParentBegin(class(key)),
                Due::ParentEnd(key) => Effect::ParentEnd(class(key)),
            })
        };
        Effects(dues.into_iter().filter_map(effect).collect())
    }

    /// As [`quiesce`](Graph::quiesce), for a section over the node.
    ///
    /// # Panics
    /// When so many are open that the next might wrap the counter. Nothing
    /// has changed then.
    pub fn begin_section(&mut self, node: NodeKey) -> Effects {
        let open = self.nodes[node].quiesce;
        assert!(open < 2 * MAX_SECTIONS, "{TOO_MANY_SECTIONS}");
        self.quiesce(node)
    }

    /// One more reason for the parents of `start` to send nothing; see
    /// [`ledger::add_reason`].
    fn quiesce(&mut self, start: NodeKey) -> Effects {
        let dues = ledger::add_reason::<NoFaults, _>(self, start);
        self.effects(dues)
    }

    /// Takes one reason away; see [`ledger::take_reason`].
    pub fn unquiesce(&mut self, start: NodeKey) -> Effects {
        let dues = ledger::take_reason::<NoFaults, _>(self, start);
        self.effects(dues)
    }

    /// Hands a parent's quiesced state from one child of an edge to the next;
    /// see [`ledger::hand_over`].
    pub fn hand_over(&mut self, edge: EdgeKey, child_is_quiesced: bool) -> Effects {
        let dues = ledger::hand_over::<NoFaults, _>(self, edge, child_is_quiesced);
        self.effects(dues)
    }

    /// Lets a new node take part in the sections over everything.
    pub fn be_born(&mut self, key: NodeKey) -> Effects {
        let dues = ledger::be_born::<NoFaults, _>(self, key);
        self.effects(dues)
    }

    /// Puts the driver in charge. It hears once of the sections that are open
    /// already, as it will hear once of their end.
    pub fn mark_opened(&mut self, key: NodeKey) -> Effects {
        let node = &mut self.nodes[key];
        node.opened = true;
        let begin = (node.quiesce > 0).then(|| Effect::DriverBegin(Arc::clone(&node.driver)));
        Effects(begin.into_iter().collect())
    }

    /// Everything that may still send requests to, or be busy above, the
    /// nodes of `start`; each once.
    fn senders_above(&mut self, start: impl IntoIterator<Item = NodeKey>) -> Senders {
        let mark = self.next_walk();
        let mut senders = Senders::default();
        let mut stack: SmallVec<[NodeKey; 8]> = start.into_iter().collect();
        while let Some(key) = stack.pop() {
            let Some(node) = self.nodes.get_mut(key) else {
                continue;
            };
            if std::mem::replace(&mut node.walk, mark) == mark {
                continue;
            }
            senders.nodes.push(Arc::clone(&node.io));
            for &edge in &node.parents {
                match self.edges[edge].parent {
                    ParentRef::Node(parent) => stack.push(parent),
                    ParentRef::Backend(parent) => {
                        senders
                            .roots
                            .push((parent, self.backends[parent].root.clone()));
                    }
                    ParentRef::Other(parent) => {
                        senders.others.push(Arc::clone(&self.others[parent].class));
                    }
                }
            }
        }
        senders
    }
}

/// What can be busy above a node.
#[derive(Default)]
struct Senders {
    nodes: SmallVec<[Arc<IoNode>; 8]>,
    roots: SmallVec<[(BackendKey, Root); 4]>,
    others: SmallVec<[Arc<dyn EdgeParent>; 2]>,
}

impl Senders {
    /// All are asked, also after one was busy: each has to know whom to wake.
    fn is_busy(&self, bql: &BqlGuard) -> bool {
        let waker = bql.waker();
        let cx = &mut Context::from_waker(&waker);
        let mut busy = false;
        for (key, root) in &self.roots {
            busy |= root.poll_idle(cx) == Poll::Pending;
            busy |= device::is_busy(bql, *key);
        }
        for node in &self.nodes {
            busy |= node.poll_idle(cx) == Poll::Pending;
        }
        for other in &self.others {
            busy |= other.drained_poll(bql);
        }
        busy
    }
}

/// Runs the main loop until nothing above `nodes` is in flight, or until the
/// time is over; says which. They are quiesced, so nothing new begins; but what
/// runs meanwhile may attach, detach and delete, so the graph is walked anew
/// each time.
pub(crate) fn wait_until_idle(bql: &mut BqlGuard, nodes: &[NodeKey], end: Option<Instant>) -> bool {
    wait_while_busy(bql, end, |bql| {
        let start = nodes.iter().copied();
        bql.graph_mut().senders_above(start)
    })
}

/// Runs the main loop until nothing is in flight anywhere.
pub(crate) fn wait_until_all_idle(bql: &mut BqlGuard) {
    wait_while_busy(bql, None, |bql| {
        let all: Vec<_> = bql.graph().all_nodes().collect();
        let graph = bql.graph_mut();
        let mut senders = graph.senders_above(all);
        let closed = graph.backends.iter();
        let closed = closed.filter(|(_, backend)| !backend.closed_at.is_empty());
        senders
            .roots
            .extend(closed.map(|(key, backend)| (key, backend.root.clone())));
        senders
    });
}

/// Whether nobody is busy at the end.
fn wait_while_busy(
    bql: &mut BqlGuard,
    end: Option<Instant>,
    mut senders: impl FnMut(&mut BqlGuard) -> Senders,
) -> bool {
    let mut is_idle = false;
    let is_waited_for = |bql: &mut BqlGuard| {
        is_idle = !senders(bql).is_busy(bql);
        !is_idle && end.is_none_or(|end| Instant::now() < end)
    };
    ledger::wait_while::<NoFaults, _>(bql, is_waited_for, |bql| {
        bql.poll(Wait::Until(end));
    });
    is_idle
}

impl Graph {
    /// Quiesces every node there is, and every one that will be born before
    /// [`end_all`].
    pub fn begin_all(&mut self) -> Effects {
        assert!(self.drain_all < MAX_SECTIONS, "{TOO_MANY_SECTIONS}");
        let dues = ledger::begin_all::<NoFaults, _>(self);
        self.effects(dues)
    }
}

/// Ends what [`begin_all`](Graph::begin_all) began.
pub(crate) fn end_all(bql: &mut BqlGuard) {
    // All counters before the first callback: one that panics must not leave
    // the rest quiesced.
    let graph = bql.graph_mut();
    let dues = ledger::end_all::<NoFaults, _>(graph);
    graph.effects(dues).run(bql);
}
