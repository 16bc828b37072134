//! Looking at the graph, and stopping requests on their way, for tests.

use block_common::{IoError, Perm};

use crate::graph::ParentRef;
use crate::{BqlGuard, Node, NodeView, nodes};

/// A driver that holds requests where it is told to (`blkdebug`): at events
/// that the drivers above it report
/// ([`Request::debug_event`](block_io::Request::debug_event)).
pub trait Breakpoints {
    /// Holds the next request that reports `event`, under the name `tag`
    /// (`bdrv_debug_breakpoint`).
    ///
    /// # Errors
    /// For an event that nobody reports.
    fn set(&self, bql: &BqlGuard, event: &str, tag: &str) -> Result<(), IoError>;

    /// Holds nothing more under that name, and lets go what is held
    /// (`bdrv_debug_remove_breakpoint`).
    ///
    /// # Errors
    /// When there is none.
    fn remove(&self, bql: &BqlGuard, tag: &str) -> Result<(), IoError>;

    /// Lets the request go on that is held under that name
    /// (`bdrv_debug_resume`).
    ///
    /// # Errors
    /// When there is none.
    fn resume(&self, bql: &BqlGuard, tag: &str) -> Result<(), IoError>;

    /// Whether a request is held under that name
    /// (`bdrv_debug_is_suspended`).
    fn is_suspended(&self, bql: &BqlGuard, tag: &str) -> bool;
}

impl<'g> NodeView<'g> {
    /// The first driver that can hold requests, from here down along the
    /// children that nodes stand on.
    fn breakpoints(self) -> Option<&'g dyn Breakpoints> {
        let mut nodes = std::iter::successors(Some(self), |node| node.primary_node());
        nodes.find_map(|node| node.driver().breakpoints())
    }
}

impl Node {
    /// Holds the next request that reports `event`; see [`Breakpoints::set`].
    ///
    /// # Errors
    /// [`IoError::NotSupported`] when no driver below can; the driver's.
    pub fn set_breakpoint(&self, bql: &BqlGuard, event: &str, tag: &str) -> Result<(), IoError> {
        let found = self.view(bql).breakpoints();
        found.ok_or(IoError::NotSupported)?.set(bql, event, tag)
    }

    /// Takes a breakpoint away; see [`Breakpoints::remove`].
    ///
    /// # Errors
    /// As [`set_breakpoint`](Node::set_breakpoint).
    pub fn remove_breakpoint(&self, bql: &BqlGuard, tag: &str) -> Result<(), IoError> {
        let found = self.view(bql).breakpoints();
        found.ok_or(IoError::NotSupported)?.remove(bql, tag)
    }

    /// Lets a held request go on; see [`Breakpoints::resume`].
    ///
    /// # Errors
    /// As [`set_breakpoint`](Node::set_breakpoint).
    pub fn resume_breakpoint(&self, bql: &BqlGuard, tag: &str) -> Result<(), IoError> {
        let found = self.view(bql).breakpoints();
        found.ok_or(IoError::NotSupported)?.resume(bql, tag)
    }

    /// Whether a request is held; see [`Breakpoints::is_suspended`].
    pub fn is_suspended(&self, bql: &BqlGuard, tag: &str) -> bool {
        let found = self.view(bql).breakpoints();
        found.is_some_and(|breakpoints| breakpoints.is_suspended(bql, tag))
    }
}

/// What is at a place of a [`GraphPicture`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PictureKind {
    /// A node (`block-driver`).
    Image,
    /// A backend (`block-backend`).
    Device,
    /// A parent of another kind, as a job is (`block-job`).
    Other,
}

/// A place of a [`GraphPicture`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PicturePlace {
    /// What it is.
    pub kind: PictureKind,
    /// Its name, or the words in which it speaks of itself.
    pub name: String,
}

/// An edge of a [`GraphPicture`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PictureEdge {
    /// The place above, counted from 0.
    pub parent: usize,
    /// The place below.
    pub child: usize,
    /// Its name.
    pub name: String,
    /// What the parent does with the child.
    pub perm: Perm,
    /// What it lets others do.
    pub shared: Perm,
}

/// The whole graph at one moment, without a borrow of it
/// (`XDbgBlockGraph`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GraphPicture {
    /// Backends and other parents as they come, then the nodes, newest first.
    pub places: Vec<PicturePlace>,
    /// The edges.
    pub edges: Vec<PictureEdge>,
}

/// Draws the graph (`bdrv_get_xdbg_block_graph`).
pub fn graph_picture(bql: &BqlGuard) -> GraphPicture {
    let graph = bql.graph();
    let mut picture = GraphPicture::default();
    let mut at = Vec::new();
    let mut place = |of: ParentRef, kind: PictureKind, name: &str| {
        at.push(of);
        let name = name.to_owned();
        picture.places.push(PicturePlace { kind, name });
    };
    for (key, backend) in &graph.backends {
        place(ParentRef::Backend(key), PictureKind::Device, &backend.name);
    }
    for (key, other) in &graph.others {
        let words = other.class.describe();
        place(ParentRef::Other(key), PictureKind::Other, &words);
    }
    for node in crate::named_nodes(bql) {
        place(ParentRef::Node(node.key), PictureKind::Image, node.name());
    }
    let index: std::collections::HashMap<ParentRef, usize> = at.into_iter().zip(0..).collect();
    for edge in nodes(bql).flat_map(NodeView::parents) {
        let state = &graph.edges[edge.key];
        let found = (
            index.get(&state.parent),
            index.get(&ParentRef::Node(state.child)),
        );
        if let (Some(&parent), Some(&child)) = found {
            let (name, perm, shared) = (edge.name().to_owned(), edge.perm(), edge.shared());
            picture.edges.push(PictureEdge {
                parent,
                child,
                name,
                perm,
                shared,
            });
        }
    }
    picture
}
