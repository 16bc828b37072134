//! Ways down a chain of images.
//!
//! A chain goes from a node to the one it filters, or to its backing image.
//! Everything here is a method of [`NodeView`]: what is found borrows the
//! guard, so it is gone before anything could poll and change the chain.
//! Requests have their own ways down: [`Request::primary`],
//! [`Request::filtered`], [`Request::cow`].
//!
//! [`Request::primary`]: block_io::Request::primary
//! [`Request::filtered`]: block_io::Request::filtered
//! [`Request::cow`]: block_io::Request::cow

use block_common::{GraphError, Role};

use crate::graph::{EdgeKey, ParentRef};
use crate::node::EdgeView;
use crate::{Node, NodeView};

impl<'g> NodeView<'g> {
    fn edge(self, key: Option<EdgeKey>) -> Option<EdgeView<'g>> {
        key.map(|key| EdgeView { bql: self.bql, key })
    }

    /// The edge to the backing image (`bdrv_cow_child`).
    pub fn cow_child(self) -> Option<EdgeView<'g>> {
        self.edge(self.graph().cow_edge(self.key))
    }

    /// The edge to the node that this one, a filter, shows
    /// (`bdrv_filter_child`).
    pub fn filter_child(self) -> Option<EdgeView<'g>> {
        let edge = self.graph().filter_edge(self.key);
        self.edge(edge.filter(|_| self.driver().is_filter()))
    }

    /// The edge down the chain (`bdrv_filter_or_cow_child`).
    pub fn filter_or_cow_child(self) -> Option<EdgeView<'g>> {
        self.filter_child().or_else(|| self.cow_child())
    }

    /// The edge to the child that name and geometry come from
    /// (`bdrv_primary_child`).
    pub fn primary_child(self) -> Option<EdgeView<'g>> {
        let mut children = self.children();
        children.find(|edge| edge.role().contains(Role::PRIMARY))
    }

    /// The backing image (`bdrv_cow_bs`).
    pub fn cow_node(self) -> Option<NodeView<'g>> {
        self.cow_child().map(EdgeView::child)
    }

    /// The node that this one, a filter, shows (`bdrv_filter_bs`).
    pub fn filter_node(self) -> Option<NodeView<'g>> {
        self.filter_child().map(EdgeView::child)
    }

    /// The next node down the chain (`bdrv_filter_or_cow_bs`).
    pub fn filter_or_cow_node(self) -> Option<NodeView<'g>> {
        self.filter_or_cow_child().map(EdgeView::child)
    }

    /// The child that name and geometry come from (`bdrv_primary_bs`).
    pub fn primary_node(self) -> Option<NodeView<'g>> {
        self.primary_child().map(EdgeView::child)
    }

    /// The first node, this one included, that is no filter
    /// (`bdrv_skip_filters`).
    pub fn skip_filters(self) -> NodeView<'g> {
        let mut node = self;
        while let Some(below) = node.filter_node() {
            node = below;
        }
        node
    }

    /// The first node, this one included, that a user may know of
    /// (`bdrv_skip_implicit_filters`).
    pub fn skip_implicit_filters(self) -> NodeView<'g> {
        let mut node = self;
        while let Some(below) = node.filter_node().filter(|_| node.is_implicit()) {
            node = below;
        }
        node
    }

    /// The next image of the chain, without the filters on both sides of it
    /// (`bdrv_backing_chain_next`).
    pub fn backing_chain_next(self) -> Option<NodeView<'g>> {
        self.skip_filters().cow_node().map(NodeView::skip_filters)
    }

    /// The image of the chain from here down whose backing image `below` is
    /// (`bdrv_find_overlay`); with `None`, the last one. Filters do not count,
    /// neither as what is looked for nor as what is found.
    pub fn find_overlay(self, below: Option<NodeView<'_>>) -> Option<NodeView<'g>> {
        let wanted = below.map(|node| node.skip_filters().key);
        let mut image = self.skip_filters();
        loop {
            let next = image.backing_chain_next();
            if next.map(|node| node.key) == wanted {
                return Some(image);
            }
            image = next?;
        }
    }

    /// The last image of the chain (`bdrv_find_base`).
    pub fn find_base(self) -> NodeView<'g> {
        let mut image = self.skip_filters();
        while let Some(next) = image.backing_chain_next() {
            image = next;
        }
        image
    }

    /// Whether `base` is this node or further down the chain
    /// (`bdrv_chain_contains`).
    pub fn chain_contains(self, base: &Node) -> bool {
        let mut chain = self.chain();
        chain.any(|node| base.is(node.key))
    }

    /// # Errors
    /// [`GraphError::NotInChain`] unless
    /// [`chain_contains`](NodeView::chain_contains).
    pub(crate) fn check_chain_contains(self, base: &Node) -> Result<(), GraphError> {
        if self.chain_contains(base) {
            return Ok(());
        }
        Err(GraphError::NotInChain {
            node: base.name().to_owned(),
            top: self.name().to_owned(),
        })
    }

    /// This node and everything further down the chain, filters included.
    pub fn chain(self) -> impl Iterator<Item = NodeView<'g>> {
        std::iter::successors(Some(self), |node| node.filter_or_cow_node())
    }

    /// Whether a backend is directly above (`bdrv_has_blk`).
    pub fn has_backend(self) -> bool {
        let mut parents = self.graph().node(self.key).parents.iter();
        parents.any(|&edge| matches!(self.graph().edges[edge].parent, ParentRef::Backend(_)))
    }

    /// Whether nobody but backends is above (`bdrv_is_root_node`).
    pub fn is_root_node(self) -> bool {
        let mut parents = self.graph().node(self.key).parents.iter();
        parents.all(|&edge| matches!(self.graph().edges[edge].parent, ParentRef::Backend(_)))
    }

    /// Whether the node was put there by a job and not by a user
    /// (`bs->implicit`): what shows the graph to users leaves it out.
    pub fn is_implicit(self) -> bool {
        self.graph().node(self.key).implicit
    }

    /// The name of the first named backend above (`bdrv_get_parent_name`);
    /// empty without one (`bdrv_get_device_name`).
    pub fn device_name(self) -> &'g str {
        let graph = self.graph();
        let parents = graph.node(self.key).parents.iter();
        let mut names = parents.filter_map(|&edge| match graph.edges[edge].parent {
            ParentRef::Backend(key) => Some(graph.backends[key].name.as_str()),
            _ => None,
        });
        names.find(|name| !name.is_empty()).unwrap_or_default()
    }

    /// What messages call the node: its backend, or else its own name
    /// (`bdrv_get_device_or_node_name`).
    pub fn device_or_node_name(self) -> &'g str {
        match self.device_name() {
            "" => self.name(),
            device => device,
        }
    }
}
