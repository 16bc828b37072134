//! Links that must not change, as values.

use std::fmt;
use std::sync::Arc;

use block_common::GraphError;

use crate::graph::{EdgeKey, NodeKey, ParentRef};
use crate::layer::LayerShared;
use crate::{BqlGuard, Node};

/// A piece of a backing chain that cannot be changed while this value exists
/// (`bdrv_freeze_backing_chain` to `bdrv_unfreeze_backing_chain`).
///
/// In QEMU a frozen link is a flag, and changing one anyway ends in an
/// assertion. Here every operation on an edge refuses first, and whoever
/// needs the chain owns the freeze: it cannot be undone twice, nor by somebody
/// else, nor forgotten in an error path. The value also keeps both ends of
/// the chain alive. It may be dropped on any thread; the links thaw when the
/// main loop next runs, or at once by [`thaw`](FrozenChain::thaw).
#[must_use = "the chain thaws when this is dropped"]
pub struct FrozenChain {
    layer: Arc<LayerShared>,
    links: Vec<EdgeKey>,
    _ends: [Node; 2],
}

impl fmt::Debug for FrozenChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrozenChain({} links)", self.links.len())
    }
}

impl Node {
    /// Freezes every filter and backing link from this node down to `base`.
    /// Needs no drained section: no edge changes.
    ///
    /// # Errors
    /// [`GraphError::FrozenLink`] when one of them is frozen already,
    /// [`GraphError::NeverFreeze`] when one leads to a node that refuses,
    /// [`GraphError::NotInChain`] when `base` is not down there.
    pub fn freeze_chain(&self, bql: &mut BqlGuard, base: &Node) -> Result<FrozenChain, GraphError> {
        let links = chain_links(bql, self, base)?;
        let graph = bql.graph();
        for &link in &links {
            let state = &graph.edges[link];
            if state.frozen > 0 {
                let parent = match state.parent {
                    ParentRef::Node(key) => graph.name(key).to_owned(),
                    other => graph.describe(other).to_string(),
                };
                return Err(GraphError::FrozenLink {
                    edge: state.name.clone(),
                    parent,
                    child: graph.name(state.child).to_owned(),
                });
            }
            if graph.node(state.child).never_freeze {
                return Err(GraphError::NeverFreeze {
                    edge: state.name.clone(),
                    child: graph.name(state.child).to_owned(),
                });
            }
        }
        for &link in &links {
            bql.graph_mut().edges[link].frozen += 1;
        }
        Ok(FrozenChain {
            layer: Arc::clone(bql.state().shared()),
            links,
            _ends: [self.clone(), base.clone()],
        })
    }

    /// Whether some link from this node down to `base` is frozen
    /// (`bdrv_is_backing_chain_frozen`).
    ///
    /// # Errors
    /// [`GraphError::NotInChain`].
    pub fn is_chain_frozen(&self, bql: &BqlGuard, base: &Node) -> Result<bool, GraphError> {
        let links = chain_links(bql, self, base)?;
        let graph = bql.graph();
        Ok(links.iter().any(|&link| graph.edges[link].frozen > 0))
    }
}

fn chain_links(bql: &BqlGuard, top: &Node, base: &Node) -> Result<Vec<EdgeKey>, GraphError> {
    let graph = bql.graph();
    let base_key: NodeKey = base.key(bql);
    let mut key = top.key(bql);
    let mut links = Vec::new();
    while key != base_key {
        let Some(edge) = graph.chain_edge(key) else {
            return Err(GraphError::NotInChain {
                node: base.name().to_owned(),
                top: top.name().to_owned(),
            });
        };
        links.push(edge);
        key = graph.edges[edge].child;
    }
    Ok(links)
}

fn thaw(bql: &mut BqlGuard, links: &[EdgeKey]) {
    for &link in links {
        // A node that was closed meanwhile has taken its links along.
        if let Some(state) = bql.graph_mut().edges.get_mut(link) {
            state.frozen = state.frozen.saturating_sub(1);
        }
    }
}

impl FrozenChain {
    /// Lets the links change again, at once.
    pub fn thaw(mut self, bql: &mut BqlGuard) {
        assert!(
            self.layer.id() == bql.layer_id(),
            "this frozen chain belongs to another block layer than the one this thread is in"
        );
        thaw(bql, &std::mem::take(&mut self.links));
    }
}

impl Drop for FrozenChain {
    fn drop(&mut self) {
        let links = std::mem::take(&mut self.links);
        if !links.is_empty() {
            self.layer.schedule(Box::new(move |bql| thaw(bql, &links)));
        }
    }
}
