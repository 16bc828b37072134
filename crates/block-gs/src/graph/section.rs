//! What a drained section has quiesced, and found idle.
//!
//! [`Section`] is the invariant on which [`write`](super::write) rests: a
//! node that it [covers](Section::covers) is quiesced, no request is in
//! flight above it, and none can begin until the section is closed, but those
//! of its owner. After such a one it is [current](Section::is_current) again
//! when it has [settled](Section::settle). Its fields are private to this
//! file.

use std::marker::PhantomData;
use std::task::Context;
use std::time::Instant;

use block_io::Root;
use block_io::aio::Wait;
use block_io::engine::NoFaults;
use block_io::engine::ledger::wait_while;
use smallvec::SmallVec;

use super::quiesce::{Effects, wait_until_idle};
use super::{BackendKey, Graph, NodeKey};
use crate::{BqlGuard, Node, device};

/// The nodes of one drained section.
#[derive(Default)]
pub(crate) struct Section {
    /// Handles, so that no node goes away inside the section.
    held: SmallVec<[Node; 2]>,
    /// How many of them, from the first on, have been found idle since they
    /// were quiesced. A poll that panics leaves the rest uncovered, and so does
    /// a wait that is given up.
    idle: usize,
    /// [`Graph::owner_io`] as it was then.
    seen: u64,
}

impl Section {
    /// Quiesces `nodes`, all before the first poll, and waits until nothing
    /// above them is in flight. Nodes covered already cost nothing.
    pub fn cover(&mut self, bql: &mut BqlGuard, nodes: impl IntoIterator<Item = Node>) {
        self.try_cover(bql, nodes, None);
    }

    /// As [`cover`](Section::cover), for no longer than until `end`. Says
    /// whether all are idle; if not they are quiesced until the section is
    /// closed, and not covered.
    fn try_cover(
        &mut self,
        bql: &mut BqlGuard,
        nodes: impl IntoIterator<Item = Node>,
        end: Option<Instant>,
    ) -> bool {
        for node in nodes {
            let key = node.key(bql);
            if self.covers(key) {
                continue;
            }
            let effects = bql.graph_mut().begin_section(key);
            self.held.push(node);
            effects.run(bql);
        }
        if self.idle == self.held.len() && self.is_current(bql.graph()) {
            return true;
        }
        let keys: SmallVec<[NodeKey; 4]> = self.held.iter().map(|node| node.key(bql)).collect();
        if !wait_until_idle(bql, &keys, end) {
            return false;
        }
        self.idle = self.held.len();
        self.seen = bql.graph().owner_io;
        true
    }

    /// Waits for what I/O of owners has left behind: it passes closed gates,
    /// and an [`Activity`](block_io::Activity) taken from it may outlive it.
    /// Polls only if there was such I/O, of this section or of one that was
    /// opened and ended inside.
    pub fn settle(&mut self, bql: &mut BqlGuard) {
        self.cover(bql, []);
    }

    /// Whether nobody has passed the closed gates since the nodes were found
    /// idle.
    pub fn is_current(&self, graph: &Graph) -> bool {
        self.held.is_empty() || self.seen == graph.owner_io
    }

    /// Whether the node is quiesced by this section and idle.
    pub fn covers(&self, key: NodeKey) -> bool {
        self.held[..self.idle].iter().any(|node| node.is(key))
    }

    /// Ends the section. Never waits, never polls.
    pub fn close(&mut self, bql: &mut BqlGuard) {
        self.idle = 0;
        let held = std::mem::take(&mut self.held);
        // All counters before the first callback: one that panics must not
        // leave the rest quiesced.
        let mut effects = Effects::default();
        for node in held.iter().rev() {
            let key = node.key(bql);
            effects.append(bql.graph_mut().unquiesce(key));
        }
        effects.run(bql);
    }
}

/// A section and the guard that opened it. Dropping it ends the section,
/// also when a panic passes by.
pub(crate) struct Scope<'a> {
    pub bql: &'a mut BqlGuard,
    pub section: Section,
    /// Not needed for soundness: who keeps a section for too long is told its
    /// name, which the compiler leaves out where a lifetime may shrink.
    pub exact: Exactly<'a>,
}

/// Makes a type invariant over `'a`.
pub(crate) type Exactly<'a> = PhantomData<fn(&'a ()) -> &'a ()>;

impl<'a> Scope<'a> {
    /// Opens a section over `nodes`.
    pub fn open(bql: &'a mut BqlGuard, nodes: impl IntoIterator<Item = Node>) -> Self {
        // The value exists before the first poll, so a panic in there ends
        // the section.
        let mut scope = Scope {
            bql,
            section: Section::default(),
            exact: PhantomData,
        };
        scope.section.cover(scope.bql, nodes);
        scope
    }

    /// As [`open`](Scope::open), or nothing if a node is not idle until `end`.
    pub fn try_open(
        bql: &'a mut BqlGuard,
        nodes: impl IntoIterator<Item = Node>,
        end: Option<Instant>,
    ) -> Option<Self> {
        let mut scope = Scope {
            bql,
            section: Section::default(),
            exact: PhantomData,
        };
        let is_idle = scope.section.try_cover(scope.bql, nodes, end);
        is_idle.then_some(scope)
    }

    /// See [`Section::settle`].
    pub fn settle(&mut self) {
        self.section.settle(self.bql);
    }
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        self.section.close(self.bql);
    }
}

/// A root that was closed for the holder of this value, and found idle after.
/// Using it up hands the reason over to a new edge.
#[must_use = "the root stays closed until this is used up"]
pub(crate) struct ClosedRoot(BackendKey);

impl ClosedRoot {
    /// Closes the gate of a root and waits for its requests.
    pub fn close(bql: &mut BqlGuard, key: BackendKey) -> ClosedRoot {
        let root = bql.graph().backends[key].root.clone();
        root.close(bql.access());
        device::tell_quiesced(bql, key);
        let waker = bql.waker();
        let mut closing = Closing {
            bql,
            root,
            key,
            idle: false,
        };
        let cx = &mut Context::from_waker(&waker);
        let is_busy = |closing: &mut Closing<'_>| {
            closing.root.poll_idle(cx).is_pending() | device::is_busy(closing.bql, key)
        };
        wait_while::<NoFaults, _>(&mut closing, is_busy, |closing| {
            closing.bql.poll(Wait::Until(None));
        });
        closing.idle = true;
        ClosedRoot(key)
    }

    /// One more reason for the same gate, for another holder.
    pub fn again(&self, bql: &BqlGuard) -> ClosedRoot {
        bql.graph().backends[self.0].root.close(bql.access());
        ClosedRoot(self.0)
    }

    /// Whose gate is closed.
    pub(super) fn backend(&self) -> BackendKey {
        self.0
    }

    /// Opens the gate again: nothing was attached.
    pub fn reopen(self, bql: &BqlGuard) {
        bql.graph().backends[self.0].root.open(bql.access());
        device::tell_quiesced(bql, self.0);
    }

    /// Uses the reason up.
    pub(super) fn hand_over(self) -> BackendKey {
        self.0
    }
}

/// A root that is being closed. Opens it again when a panic passes by.
struct Closing<'a> {
    bql: &'a mut BqlGuard,
    root: Root,
    key: BackendKey,
    idle: bool,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        if !self.idle {
            self.root.open(self.bql.access());
            device::tell_quiesced(self.bql, self.key);
        }
    }
}
