//! Draining a backend, with a medium or without.

use std::fmt;
use std::ops::Deref;

use crate::graph::section::{ClosedRoot, Scope};
use crate::{Backend, BqlGuard, Drained, Node, device};

/// Proof that a backend is quiesced: its requests have ended, and none begins
/// until this value is dropped (`blk_drain`, which ends the section at once).
///
/// If there is a medium, it is drained. If there is none, requests that fail
/// for want of one are waited for all the same: whoever sent them has heard of
/// it when the section opens.
#[must_use = "the drained section ends when this is dropped; bind it to a name, `let _` drops it at once"]
pub struct DrainedBackend<'a> {
    /// Holds the backend, and with it the key in `closed`.
    backend: Backend,
    closed: Option<ClosedRoot>,
    scope: Scope<'a>,
}

impl fmt::Debug for DrainedBackend<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DrainedBackend({})", self.backend.name())
    }
}

impl Deref for DrainedBackend<'_> {
    type Target = BqlGuard;

    fn deref(&self) -> &BqlGuard {
        self.scope.bql
    }
}

impl Drop for DrainedBackend<'_> {
    fn drop(&mut self) {
        if let Some(closed) = self.closed.take() {
            closed.reopen(self.scope.bql);
        }
    }
}

impl Backend {
    /// Opens a drained section over the backend and the medium in it, if
    /// there is one (`blk_drain`). It runs the main loop until nothing of the
    /// backend is in flight, which is why it takes the exclusive proof.
    ///
    /// Requests that come meanwhile wait. To write the graph, open a section
    /// [`also`](DrainedBackend::also) over the node in question.
    ///
    /// # Panics
    /// When the backend belongs to another block layer.
    pub fn drain<'a>(&self, bql: &'a mut BqlGuard) -> DrainedBackend<'a> {
        let key = self.key(bql);
        bql.graph_mut().sections += 1;
        let node = self.node(bql);
        let scope = Scope::open(bql, node);
        // A reason of its own: the medium may have been changed meanwhile.
        let closed = ClosedRoot::close(scope.bql, key);
        DrainedBackend {
            backend: self.clone(),
            closed: Some(closed),
            scope,
        }
    }
}

impl DrainedBackend<'_> {
    /// The backend that is drained.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Opens a section over a node, inside this one. It ends first.
    pub fn also<'b>(&'b mut self, node: &Node) -> Drained<'b> {
        node.drain(self.scope.bql)
    }

    /// Global-state operations inside the section that need the exclusive
    /// proof, such as changing the medium. What `f` polls runs inside the
    /// section.
    pub fn with<R>(&mut self, f: impl FnOnce(&mut BqlGuard) -> R) -> R {
        f(self.scope.bql)
    }

    /// Ends the section. Dropping does the same; this says so.
    pub fn end(self) {}
}

/// Closes the roots that have no node, for a section over everything: nodes
/// close the others. The section is the innermost.
pub(crate) fn close_empty_roots(bql: &mut BqlGuard) {
    let graph = bql.graph_mut();
    let level = graph.drain_all;
    let mut closed = Vec::new();
    for (key, backend) in &mut graph.backends {
        if backend.edge.is_none() {
            backend.closed_at.push(level);
            closed.push((key, backend.root.clone()));
        }
    }
    // All gates before the first callback: one that panics must not leave a
    // gate open that is taken to be closed.
    for (_, root) in &closed {
        root.close(bql.access());
    }
    device::tell_all(bql, closed.into_iter().map(|(key, _)| key));
}

/// Opens what [`close_empty_roots`] closed for the innermost section over
/// everything.
pub(crate) fn open_empty_roots(bql: &mut BqlGuard) {
    let graph = bql.graph_mut();
    let level = graph.drain_all;
    let mut opened = Vec::new();
    for (key, backend) in &mut graph.backends {
        if backend.closed_at.last() == Some(&level) {
            backend.closed_at.pop();
            opened.push((key, backend.root.clone()));
        }
    }
    for (_, root) in &opened {
        root.open(bql.access());
    }
    device::tell_all(bql, opened.into_iter().map(|(key, _)| key));
}
