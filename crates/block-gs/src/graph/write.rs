//! The one place where edges are written.
//!
//! **Fenced module.** The proof is a [`Section`] that covers the parent of the
//! edge, or the child it points to, which quiesces every parent. Requests read
//! edges without a lock; under such a section none can be reading this one,
//! and none starts before it ends. The checks are made at run time, once per
//! write and against the section itself, so no caller can get them wrong.

use std::sync::Arc;

use block_common::{BlockLimits, Perm, Role};
use block_io::engine::NoFaults;
use block_io::engine::ledger::move_edge;
use block_io::{Children, GraphCell, IoEdge, IoNode, NodeFlags};
use smallvec::SmallVec;

use super::section::{ClosedRoot, Section};
use super::{EdgeKey, EdgeState, NodeKey, ParentKey, ParentRef};
use crate::BqlGuard;

/// The parent of a new edge, with what makes it safe to write there.
pub(crate) enum NewParent {
    /// A node that the section covers.
    Node(NodeKey),
    /// A root, closed for this very edge.
    Backend(ClosedRoot),
    /// Sends no requests through its edges.
    Other(ParentKey),
}

/// What a new edge is to be.
pub(crate) struct NewEdge<'n> {
    pub parent: NewParent,
    pub name: &'n str,
    pub role: Role,
    pub child: NodeKey,
    pub perm: Perm,
    pub shared: Perm,
}

/// Makes an edge, quiesced before anybody can see it if its child is
/// (`bdrv_attach_child_common`). Does not look at permissions.
pub(crate) fn link(bql: &mut BqlGuard, section: &Section, new: NewEdge<'_>) -> EdgeKey {
    let parent = match new.parent {
        NewParent::Node(parent) => {
            assert_covered(bql, section, section.covers(parent));
            ParentRef::Node(parent)
        }
        NewParent::Backend(closed) => ParentRef::Backend(closed.hand_over()),
        NewParent::Other(parent) => ParentRef::Other(parent),
    };
    let graph = bql.graph_mut();
    let child = &graph.nodes[new.child];
    let child_is_quiesced = child.quiesce > 0;
    let io = IoEdge::new(new.name, Arc::clone(&child.io), new.perm);
    let key = graph.edges.insert(EdgeState {
        name: new.name.to_owned(),
        role: new.role,
        parent,
        child: new.child,
        perm: new.perm,
        shared: new.shared,
        quiesced_parent: false,
        frozen: 0,
        io: Arc::clone(&io),
    });
    let effects = graph.hand_over(key, child_is_quiesced);
    graph.nodes[new.child].parents.insert(0, key);
    aim(bql, key);
    let graph = bql.graph_mut();
    match parent {
        ParentRef::Node(parent) => {
            graph.nodes[parent].children.push(key);
            graph.raise(parent, new.child);
        }
        ParentRef::Backend(parent) => graph.backends[parent].edge = Some(key),
        ParentRef::Other(parent) => graph.others[parent].edges.push(key),
    }
    track_below(bql, section, parent, new.child);
    effects.run(bql);
    publish(bql, parent, Some(io), child_is_quiesced);
    tell_device(bql, parent);
    key
}

/// Points an edge to another node (`bdrv_replace_child_noperm`). Does not
/// look at permissions. Nothing when it points there already.
pub(crate) fn relink(bql: &mut BqlGuard, section: &Section, edge: EdgeKey, new: NodeKey) {
    let graph = bql.graph();
    let (parent, old) = (graph.edges[edge].parent, graph.edges[edge].child);
    if old == new {
        return;
    }
    assert_covered(bql, section, covers_edge(section, parent, old));
    let graph = bql.graph_mut();
    assert!(
        graph.edges[edge].frozen == 0,
        "a frozen link was to be changed"
    );
    graph.nodes[old].parents.retain(|&mut known| known != edge);
    graph.nodes[new].parents.insert(0, edge);
    let child = &graph.nodes[new];
    let child_is_quiesced = child.quiesce > 0;
    let io = IoEdge::new(
        &graph.edges[edge].name,
        Arc::clone(&child.io),
        graph.edges[edge].perm,
    );
    let state = &mut graph.edges[edge];
    state.child = new;
    state.io = Arc::clone(&io);
    aim(bql, edge);
    let graph = bql.graph_mut();
    if let ParentRef::Node(parent) = parent {
        graph.raise(parent, new);
    }
    track_below(bql, section, parent, new);
    // Written while the parent is still quiesced through the old child, and
    // handed over afterwards: it never sees the new child unquiesced.
    let show = |bql: &mut BqlGuard| publish(bql, parent, Some(io), child_is_quiesced);
    move_edge::<NoFaults, _>(bql, show, |bql| hand_over(bql, edge, child_is_quiesced));
    tell_device(bql, parent);
}

/// Takes an edge out of the graph (`bdrv_detach_child`). Does not look at
/// permissions. The edge can be [put back](relink_removed) until it is
/// [freed](free).
pub(crate) fn unlink(bql: &mut BqlGuard, section: &Section, edge: EdgeKey) {
    let graph = bql.graph();
    let (parent, child) = (graph.edges[edge].parent, graph.edges[edge].child);
    assert_covered(bql, section, covers_edge(section, parent, child));
    let graph = bql.graph_mut();
    assert!(
        graph.edges[edge].frozen == 0,
        "a frozen link was to be removed"
    );
    graph.nodes[child]
        .parents
        .retain(|&mut known| known != edge);
    match parent {
        ParentRef::Node(parent) => {
            graph.nodes[parent]
                .children
                .retain(|&mut known| known != edge);
        }
        ParentRef::Backend(parent) => graph.backends[parent].edge = None,
        ParentRef::Other(parent) => {
            graph.others[parent]
                .edges
                .retain(|&mut known| known != edge);
        }
    }
    let show = |bql: &mut BqlGuard| publish(bql, parent, None, false);
    move_edge::<NoFaults, _>(bql, show, |bql| hand_over(bql, edge, false));
    tell_device(bql, parent);
}

/// Takes an edge away that was made below a root whose gate has stayed closed
/// since, for the holder of `closed` too: no request has seen it.
pub(crate) fn unlink_unseen(bql: &mut BqlGuard, closed: &ClosedRoot, edge: EdgeKey) {
    let graph = bql.graph_mut();
    let state = &graph.edges[edge];
    let (parent, child, quiesced) = (state.parent, state.child, state.quiesced_parent);
    assert_quiesced(parent == ParentRef::Backend(closed.backend()));
    graph.nodes[child]
        .parents
        .retain(|&mut known| known != edge);
    graph.backends[closed.backend()].edge = None;
    graph.edges[edge].quiesced_parent = false;
    // The edge's own reason goes with it; there is one if the child is quiesced.
    publish(bql, parent, None, !quiesced);
    tell_device(bql, parent);
}

/// Puts an edge back that [`unlink`] took from a node.
pub(crate) fn relink_removed(bql: &mut BqlGuard, section: &Section, edge: EdgeKey) {
    let ParentRef::Node(parent) = bql.graph().edges[edge].parent else {
        unreachable!("only edges of nodes are taken out in transactions");
    };
    assert_covered(bql, section, section.covers(parent));
    let graph = bql.graph_mut();
    let state = &graph.edges[edge];
    let (child, io) = (state.child, Arc::clone(&state.io));
    let child_is_quiesced = graph.nodes[child].quiesce > 0;
    let effects = graph.hand_over(edge, child_is_quiesced);
    graph.nodes[child].parents.insert(0, edge);
    graph.nodes[parent].children.push(edge);
    aim(bql, edge);
    effects.run(bql);
    publish(bql, ParentRef::Node(parent), Some(io), child_is_quiesced);
}

/// Forgets an edge that is out of the graph, and tells which node it led to.
pub(crate) fn free(bql: &mut BqlGuard, edge: EdgeKey) -> NodeKey {
    let state = bql.graph_mut().edges.remove(edge);
    state.expect("an edge is freed once").child
}

/// Replaces the value of a driver's cell.
pub(crate) fn set_cell<T>(
    bql: &BqlGuard,
    section: &Section,
    node: NodeKey,
    cell: &GraphCell<T>,
    value: T,
) -> T {
    assert_covered(bql, section, section.covers(node));
    let owner = &bql.graph().nodes[node].io;
    assert!(
        cell.owner() == owner.uid(),
        "a GraphCell is written in a drained section of the node it belongs to; this section is \
         of node '{}'",
        owner.name()
    );
    // SAFETY: `section` covers the cell's node, so no request for it exists,
    // not even of the section's owner, whose I/O borrows the section
    // exclusively. The `BqlGuard` makes us the only writer.
    unsafe { cell.replace_in_drained_section(value) }
}

/// Shows requests the limits of a node.
pub(crate) fn set_limits(bql: &mut BqlGuard, section: &Section, key: NodeKey, limits: BlockLimits) {
    let quiesced = bql.graph().nodes[key].quiesce > 0;
    assert_covered(bql, section, quiesced || section.covers(key));
    let io = Arc::clone(&bql.graph().nodes[key].io);
    // SAFETY: the node is quiesced: it is covered itself, or a node below it
    // is. The `BqlGuard` makes us the only writer.
    unsafe { io.replace_limits_in_drained_section(limits) };
    if limits.request_alignment > 1 {
        // Padded writes read what lies around them, so overlaps matter.
        set_flag(bql, section, key, NodeFlags::TRACKED, true);
    }
}

/// Changes how a node treats requests, and with it perhaps which requests
/// come by.
pub(crate) fn set_flag(
    bql: &mut BqlGuard,
    section: &Section,
    key: NodeKey,
    flag: NodeFlags,
    on: bool,
) {
    let quiesced = bql.graph().nodes[key].quiesce > 0;
    assert_covered(bql, section, quiesced || section.covers(key));
    let io = Arc::clone(&bql.graph().nodes[key].io);
    io.set_flag(bql.access(), flag, on);
    redirect(bql, key);
}

/// Lets a child track overlaps if its parent needs that.
fn track_below(bql: &mut BqlGuard, section: &Section, parent: ParentRef, child: NodeKey) {
    let ParentRef::Node(parent) = parent else {
        return;
    };
    let graph = bql.graph();
    let needed = graph.nodes[parent].io.capabilities().serialises_below;
    let flags = graph.nodes[child].io.flags();
    if needed && !flags.contains(NodeFlags::TRACKED) {
        set_flag(bql, section, child, NodeFlags::TRACKED, true);
    }
}

/// Where requests end that enter `node`, and whether they may give space back
/// on the way there.
fn path_from(bql: &BqlGuard, node: NodeKey) -> (Arc<IoNode>, bool) {
    let graph = bql.graph();
    let io = &graph.nodes[node].io;
    if io.is_transparent()
        && let Some(file) = graph.child_edge(node, "file")
    {
        // SAFETY: the `BqlGuard` makes us the only one who writes the graph.
        let (target, may_unmap) = unsafe { graph.edges[file].io.path(bql.access()) };
        return (target, may_unmap && io.flags().contains(NodeFlags::UNMAP));
    }
    (Arc::clone(io), true)
}

/// Finds the path of an edge that no request can be following.
fn aim(bql: &mut BqlGuard, edge: EdgeKey) {
    let state = &bql.graph().edges[edge];
    let (target, may_unmap) = path_from(bql, state.child);
    // SAFETY: the edge is about to be published, by a caller that has checked
    // that its parent is quiesced, or it is new.
    unsafe {
        let io = &state.io;
        io.set_target_in_drained_section(bql.access(), target, may_unmap);
    }
}

/// Finds the paths through a node anew, which is quiesced: of the edges above
/// it, and above those nodes that requests skip in turn. Each of these has
/// one child that requests go to, so the walk meets no edge twice.
fn redirect(bql: &mut BqlGuard, node: NodeKey) {
    let mut work: SmallVec<[NodeKey; 4]> = SmallVec::from_slice(&[node]);
    while let Some(node) = work.pop() {
        let (target, may_unmap) = path_from(bql, node);
        let graph = bql.graph();
        for &edge in &graph.nodes[node].parents {
            let state = &graph.edges[edge];
            // SAFETY: the node that the walk began at is quiesced, and with
            // it every parent above it: no request follows this edge.
            unsafe {
                let target = Arc::clone(&target);
                let io = &state.io;
                io.set_target_in_drained_section(bql.access(), target, may_unmap);
            }
            if let ParentRef::Node(parent) = state.parent
                && graph.nodes[parent].io.is_transparent()
                && graph.child_edge(parent, "file") == Some(edge)
            {
                work.push(parent);
            }
        }
    }
}

/// An other parent sends no requests through its edges, so it needs no cover.
fn covers_edge(section: &Section, parent: ParentRef, child: NodeKey) -> bool {
    match parent {
        ParentRef::Node(parent) => section.covers(parent) || section.covers(child),
        ParentRef::Backend(_) => section.covers(child),
        ParentRef::Other(_) => true,
    }
}

fn assert_quiesced(quiesced: bool) {
    assert!(
        quiesced,
        "an edge was to be written outside a drained section of its parent"
    );
}

fn assert_covered(bql: &BqlGuard, section: &Section, covered: bool) {
    assert_quiesced(covered);
    assert!(
        section.is_current(bql.graph()),
        "an edge was to be written while I/O of a section's owner may be going on"
    );
}

/// Counts for the parent that its child is quiesced, or is not any more.
fn hand_over(bql: &mut BqlGuard, edge: EdgeKey, child_is_quiesced: bool) {
    let effects = bql.graph_mut().hand_over(edge, child_is_quiesced);
    effects.run(bql);
}

/// A gate can lose its reason, or get one, when its edge is written. The
/// device hears of it when the graph is whole again.
fn tell_device(bql: &BqlGuard, parent: ParentRef) {
    if let ParentRef::Backend(key) = parent {
        crate::device::tell_quiesced(bql, key);
    }
}

/// Shows requests what the graph says now.
fn publish(
    bql: &mut BqlGuard,
    parent: ParentRef,
    io: Option<Arc<IoEdge>>,
    child_is_quiesced: bool,
) {
    let graph = bql.graph_mut();
    match parent {
        ParentRef::Node(key) => {
            let node = &graph.nodes[key];
            let edges = node.children.iter();
            let children = Children::new(edges.map(|&edge| Arc::clone(&graph.edges[edge].io)));
            // SAFETY: the callers checked that a section covers this parent,
            // or the child whose parent it is: no request for it exists. The
            // `BqlGuard` makes us the only writer.
            drop(unsafe { node.io.replace_children_in_drained_section(children) });
            redirect(bql, key);
        }
        ParentRef::Backend(key) => {
            let root = graph.backends[key].root.clone();
            let node = io.as_ref().map(|edge| Arc::clone(edge.node()));
            // SAFETY: the gate is closed and idle: for the edge whose child the
            // section covers, or for the `ClosedRoot` that the caller was given. The
            // `BqlGuard` makes us the only writer.
            drop(unsafe { root.replace_edge(io, child_is_quiesced) });
            root.note_node(bql.access(), node.as_ref());
        }
        ParentRef::Other(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use block_common::Role;
    use block_io::{Destination, DriverIo, IoFuture, Request};

    use super::*;
    use crate::{BlockDriver, BlockLayer, Node, NodeBuilder};

    struct Empty;

    impl DriverIo for Empty {
        fn read<'r>(&'r self, _: Request<'r>, _: u64, _: Destination<'r>) -> IoFuture<'r> {
            IoFuture::done()
        }

        fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
            IoFuture::ready(Ok(0))
        }
    }

    impl BlockDriver for Empty {
        fn format_name(&self) -> &'static str {
            "empty"
        }
    }

    /// Tries a write of the graph in a section that covers neither `top` nor
    /// `file`, its child, and then in one that covers `top`.
    fn write(what: fn(&mut BqlGuard, &Section, top: &Node, other: &Node)) {
        let layer = BlockLayer::new().expect("a layer");
        layer.enter(|bql| {
            let open = |bql: &mut BqlGuard, builder: NodeBuilder| {
                builder.open(bql, Arc::new(Empty)).expect("it opens")
            };
            let file = open(bql, NodeBuilder::new("file"));
            let other = open(bql, NodeBuilder::new("other"));
            let top = NodeBuilder::new("top").child("file", &file, Role::IMAGE);
            let top = open(bql, top);

            let mut elsewhere = Section::default();
            elsewhere.cover(bql, [other.clone()]);
            let attempt = AssertUnwindSafe(|| what(bql, &elsewhere, &top, &other));
            let panic = catch_unwind(attempt).expect_err("the section covers another node");
            let said = panic.downcast_ref::<&str>().copied().unwrap_or_default();
            assert!(said.contains("outside a drained section"), "{said}");
            elsewhere.close(bql);
            let edge = top.view(bql).child("file").expect("still there");
            assert_eq!(edge.child().name(), "file");
            assert_eq!(top.view(bql).children().count(), 1);

            let mut here = Section::default();
            here.cover(bql, [top.clone()]);
            what(bql, &here, &top, &other);
            here.close(bql);
        });
    }

    fn edge_below(bql: &BqlGuard, top: &Node) -> EdgeKey {
        bql.graph().nodes[top.key(bql)].children[0]
    }

    #[test]
    fn no_edge_is_made_outside_a_section_of_its_parent() {
        write(|bql, section, top, other| {
            let new = NewEdge {
                name: "extra",
                parent: NewParent::Node(top.key(bql)),
                child: other.key(bql),
                role: Role::DATA,
                perm: Perm::empty(),
                shared: Perm::all(),
            };
            link(bql, section, new);
            assert_eq!(top.view(bql).children().count(), 2);
        });
    }

    #[test]
    fn no_edge_is_moved_outside_a_section_of_its_parent() {
        write(|bql, section, top, other| {
            let edge = edge_below(bql, top);
            relink(bql, section, edge, other.key(bql));
            let edge = top.view(bql).child("file").expect("moved");
            assert_eq!(edge.child().name(), "other");
        });
    }

    #[test]
    fn no_edge_is_removed_outside_a_section_of_its_parent() {
        write(|bql, section, top, _| {
            let edge = edge_below(bql, top);
            unlink(bql, section, edge);
            free(bql, edge);
            assert_eq!(top.view(bql).children().count(), 0);
        });
    }

    #[test]
    fn no_limits_are_shown_outside_a_section() {
        write(|bql, section, top, _| {
            let key = top.key(bql);
            set_limits(bql, section, key, BlockLimits::default());
        });
    }
}
