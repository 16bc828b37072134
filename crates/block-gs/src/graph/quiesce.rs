//! Counting quiesced sections up the graph.
//!
//! Quiescing goes up, never down. A node that is quiesced quiesces, through
//! each parent edge, the parent; at the top that closes the gate of a root,
//! and no request enters. The children of a quiesced node are not quiesced,
//! they just see nothing from it.
//!
//! Counting and callbacks are separate: the counters are changed in one go,
//! which nobody can observe, and the callbacks run afterwards with a shared
//! `BqlGuard`. They can look at the graph but not change it, nor poll.

use std::sync::Arc;
use std::task::{Context, Poll};

use block_io::aio::Wait;
use block_io::{IoNode, Root};
use smallvec::SmallVec;

use super::{EdgeKey, Graph, NodeKey, ParentRef};
use crate::BqlGuard;
use crate::driver::BlockDriver;
use crate::parent::EdgeParent;

/// How many sections may be open over one node. Sections can be forgotten, and
/// a counter that wraps would let requests into one that is open. What a node
/// counts besides, quiesced edges and sections over everything, fits above.
const MAX_SECTIONS: u32 = 1 << 30;
const TOO_MANY_SECTIONS: &str = "too many drained sections have been forgotten";

/// What remains to be done after the counters have changed.
enum Effect {
    CloseNode(Arc<IoNode>),
    OpenNode(Arc<IoNode>),
    CloseRoot(Root),
    OpenRoot(Root),
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
                Effect::CloseRoot(root) => root.close(access),
                Effect::OpenRoot(root) => root.open(access),
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

impl Graph {
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

    /// One more reason for the parents of `start` to send nothing
    /// (`bdrv_do_drained_begin` without polling). Parents are told before the
    /// node's own driver.
    pub fn quiesce(&mut self, start: NodeKey) -> Effects {
        let mut effects = Effects::default();
        let mut drivers: SmallVec<[Effect; 4]> = SmallVec::new();
        let mut stack: SmallVec<[NodeKey; 8]> = SmallVec::from_slice(&[start]);
        while let Some(key) = stack.pop() {
            let node = &mut self.nodes[key];
            node.quiesce += 1;
            effects.0.push(Effect::CloseNode(Arc::clone(&node.io)));
            if node.quiesce > 1 {
                continue;
            }
            if node.opened {
                drivers.push(Effect::DriverBegin(Arc::clone(&node.driver)));
            }
            for &edge in &node.parents {
                let edge = &mut self.edges[edge];
                debug_assert!(!edge.quiesced_parent);
                edge.quiesced_parent = true;
                match edge.parent {
                    ParentRef::Node(parent) => stack.push(parent),
                    ParentRef::Backend(parent) => {
                        let root = self.backends[parent].root.clone();
                        effects.0.push(Effect::CloseRoot(root));
                    }
                    ParentRef::Other(parent) => {
                        let class = Arc::clone(&self.others[parent].class);
                        effects.0.push(Effect::ParentBegin(class));
                    }
                }
            }
        }
        effects.0.extend(drivers.into_iter().rev());
        effects
    }

    /// Puts the driver in charge. It hears once of the sections that are open
    /// already, as it will hear once of their end.
    pub fn mark_opened(&mut self, key: NodeKey) -> Effects {
        let node = &mut self.nodes[key];
        node.opened = true;
        let begin = (node.quiesce > 0).then(|| Effect::DriverBegin(Arc::clone(&node.driver)));
        Effects(begin.into_iter().collect())
    }

    /// Takes one reason away (`bdrv_do_drained_end`). The node's own driver
    /// is told before its parents.
    pub fn unquiesce(&mut self, start: NodeKey) -> Effects {
        let mut effects = Effects::default();
        let mut openings: SmallVec<[Effect; 8]> = SmallVec::new();
        let mut stack: SmallVec<[NodeKey; 8]> = SmallVec::from_slice(&[start]);
        while let Some(key) = stack.pop() {
            let node = &mut self.nodes[key];
            assert!(node.quiesce > 0, "a drained section ends once");
            node.quiesce -= 1;
            openings.push(Effect::OpenNode(Arc::clone(&node.io)));
            if node.quiesce > 0 {
                continue;
            }
            if node.opened {
                effects.0.push(Effect::DriverEnd(Arc::clone(&node.driver)));
            }
            for &edge in &node.parents {
                let edge = &mut self.edges[edge];
                debug_assert!(edge.quiesced_parent);
                edge.quiesced_parent = false;
                match edge.parent {
                    ParentRef::Node(parent) => stack.push(parent),
                    ParentRef::Backend(parent) => {
                        let root = self.backends[parent].root.clone();
                        openings.push(Effect::OpenRoot(root));
                    }
                    ParentRef::Other(parent) => {
                        let class = Arc::clone(&self.others[parent].class);
                        openings.push(Effect::ParentEnd(class));
                    }
                }
            }
        }
        effects.0.extend(openings);
        effects
    }

    /// Hands a parent's quiesced state from one child of an edge to the next:
    /// the parent is quiesced for the edge while its child is. Roots are not
    /// handled here: their gate changes together with what lies behind it.
    pub fn hand_over(&mut self, edge: EdgeKey, child_is_quiesced: bool) -> Effects {
        let state = &mut self.edges[edge];
        let was = std::mem::replace(&mut state.quiesced_parent, child_is_quiesced);
        if was == child_is_quiesced {
            return Effects::default();
        }
        match state.parent {
            ParentRef::Node(parent) if child_is_quiesced => self.quiesce(parent),
            ParentRef::Node(parent) => self.unquiesce(parent),
            ParentRef::Backend(_) => Effects::default(),
            ParentRef::Other(parent) => {
                let class = Arc::clone(&self.others[parent].class);
                Effects(SmallVec::from_iter([if child_is_quiesced {
                    Effect::ParentBegin(class)
                } else {
                    Effect::ParentEnd(class)
                }]))
            }
        }
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
                        senders.roots.push(self.backends[parent].root.clone());
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
    roots: SmallVec<[Root; 4]>,
    others: SmallVec<[Arc<dyn EdgeParent>; 2]>,
}

impl Senders {
    /// All are asked, also after one was busy: each has to know whom to wake.
    fn is_busy(&self, bql: &BqlGuard) -> bool {
        let waker = bql.waker();
        let cx = &mut Context::from_waker(&waker);
        let mut busy = false;
        for root in &self.roots {
            busy |= root.poll_idle(cx) == Poll::Pending;
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

/// Runs the main loop until nothing above `nodes` is in flight. They are
/// quiesced, so nothing new begins; but what runs meanwhile may attach, detach
/// and delete, so the graph is walked anew each time.
pub(crate) fn wait_until_idle(bql: &mut BqlGuard, nodes: &[NodeKey]) {
    loop {
        let senders = bql.graph_mut().senders_above(nodes.iter().copied());
        if !senders.is_busy(bql) {
            return;
        }
        drop(senders);
        bql.poll(Wait::Until(None));
    }
}

impl Graph {
    /// Quiesces every node there is, and every one that will be born before
    /// [`end_all`] (`bdrv_drain_all_begin_nopoll`).
    pub fn begin_all(&mut self) -> Effects {
        assert!(self.drain_all < MAX_SECTIONS, "{TOO_MANY_SECTIONS}");
        self.drain_all += 1;
        let mut all = Effects::default();
        for key in self.all_nodes().collect::<Vec<_>>() {
            all.append(self.quiesce(key));
        }
        all
    }
}

/// Runs the main loop until nothing is in flight anywhere.
pub(crate) fn wait_until_all_idle(bql: &mut BqlGuard) {
    loop {
        let all: Vec<_> = bql.graph().all_nodes().collect();
        let senders = bql.graph_mut().senders_above(all);
        if !senders.is_busy(bql) {
            return;
        }
        drop(senders);
        bql.poll(Wait::Until(None));
    }
}

/// Ends what [`begin_all`](Graph::begin_all) began.
pub(crate) fn end_all(bql: &mut BqlGuard) {
    let graph = bql.graph_mut();
    graph.drain_all -= 1;
    // All counters before the first callback: one that panics must not leave
    // the rest quiesced.
    let mut all = Effects::default();
    for key in graph.all_nodes().collect::<Vec<_>>() {
        all.append(graph.unquiesce(key));
    }
    all.run(bql);
}
