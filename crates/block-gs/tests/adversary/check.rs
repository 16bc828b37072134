//! Is the graph as consistent as it has to be whenever nothing runs?

use std::sync::Arc;
use std::sync::atomic::Ordering;

use block_gs::{BqlGuard, Node, backends, nodes};
use block_io::Activity;

use crate::hooks::Trap;

/// Panics with what is wrong. No section is open, no request in flight.
pub fn check(bql: &mut BqlGuard, when: &str) {
    let all: Vec<Node> = nodes(bql).map(|node| node.node(bql)).collect();
    for node in &all {
        check_node(bql, node, when);
    }
    for backend in backends(bql) {
        let root = backend.root();
        assert_eq!(root.quiesce_count(), 0, "{when}: {backend:?} is closed");
        assert_eq!(root.in_flight(), 0, "{when}: {backend:?} is busy");
        let below = backend.node(bql);
        let counted = root.try_begin().expect("the gate is open");
        let seen = counted.request().ok().map(|request| request.node().uid());
        assert_eq!(
            seen,
            below.as_ref().map(|node| node.io().uid()),
            "{when}: requests of {backend:?} see another node than the graph"
        );
        if let (Some(node), Ok(request)) = (below, counted.request()) {
            let edges = node.view(bql).parents();
            let granted = edges.filter(|edge| edge.parent_node().is_none());
            let granted: Vec<_> = granted.map(|edge| edge.perm()).collect();
            assert!(granted.contains(&request.perm()), "{when}: {granted:?}");
            assert_eq!(backend.perms(bql).perm, request.perm(), "{when}");
            assert_eq!(root.context(), node.io().context(), "{when}: {backend:?}");
        }
    }
}

fn check_node(bql: &BqlGuard, node: &Node, when: &str) {
    let (view, io) = (node.view(bql), node.io());
    assert_eq!(view.quiesce_count(), 0, "{when}: {node:?} is quiesced");
    assert_eq!(io.in_flight(), 0, "{when}: {node:?} is busy");
    let found = Node::find(bql, node.name());
    assert!(found.is_some(), "{when}: {node:?} is half closed");
    if let Some(driver) = node.driver::<Trap>() {
        let drained = driver.drained.load(Ordering::SeqCst);
        assert_eq!(drained, 0, "{when}: what the driver of {node:?} heard");
        let closed = driver.closed.load(Ordering::SeqCst);
        assert_eq!(closed, 0, "{when}: {node:?} is closed, and there");
        let undecided = driver.undecided.load(Ordering::SeqCst);
        assert!(!undecided, "{when}: {node:?} waits to hear of permissions");
        let ready = driver.ready.load(Ordering::SeqCst);
        assert_eq!(ready, 0, "{when}: {node:?} is ready to be reopened");
    }
    assert_eq!(view.is_writable(), io.is_writable(), "{when}: {node:?}");
    for edge in view.children() {
        let id = edge.id(bql);
        let back = edge.child().parents().any(|known| known.id(bql) == id);
        assert!(back, "{when}: {edge:?} is not known below");
        assert!(!edge.has_quiesced_parent(), "{when}: {edge:?}");
        assert!(!edge.is_frozen(), "{when}: {edge:?}");
        let below = edge.child().io().context();
        assert_eq!(below, io.context(), "{when}: {edge:?} crosses contexts");
    }
    for edge in view.parents() {
        let id = edge.id(bql);
        if let Some(parent) = edge.parent_node() {
            let back = parent.children().any(|known| known.id(bql) == id);
            assert!(back, "{when}: {edge:?} is not known above");
        }
        assert!(!edge.has_quiesced_parent(), "{when}: {edge:?}");
    }
    // What requests see is what the graph says.
    let activity = Activity::try_begin(&Arc::clone(io)).expect("the gate is open");
    let request = activity.request();
    let seen = request.children().iter();
    let mut seen: Vec<_> = seen
        .map(|edge| (edge.name().to_owned(), edge.node().uid(), edge.perm()))
        .collect();
    let known = view.children();
    let mut known: Vec<_> = known
        .map(|edge| {
            let child = edge.child().io().uid();
            (edge.name().to_owned(), child, edge.perm())
        })
        .collect();
    seen.sort_by_key(|edge| edge.1);
    known.sort_by_key(|edge| edge.1);
    assert_eq!(seen, known, "{when}: the children of {node:?}");
    assert_eq!(*request.limits(), view.limits(), "{when}: {node:?}");
}
