//! Walks over all nodes, and finding one by name.
//!
//! There are two kinds. Iterators of [`NodeView`]s borrow the guard, so
//! nothing changes under them, and nothing in the loop can poll. A [`Walk`]
//! is for loops that do poll: it borrows nothing, and finds its place again.
//! (In QEMU there is one kind, which must not be used the first way and needs
//! a cleanup when left early in the second.)

use std::collections::BTreeSet;

use block_common::{GraphError, IoError};
use block_io::Activity;

use crate::graph::NodeKey;
use crate::{Backend, BqlGuard, Node, NodeView, backends, nodes};

/// The nodes that hang from nothing but backends and the monitor's list: first
/// those below backends, then those that the monitor owns and no backend
/// uses; each once (`bdrv_first`, `bdrv_next`).
pub fn top_nodes<'b>(bql: &'b BqlGuard) -> impl Iterator<Item = NodeView<'b>> + use<'b> {
    let graph = bql.graph();
    let mut seen = BTreeSet::new();
    let below_backends = graph.backends.values().filter_map(move |backend| {
        let key = graph.edges[backend.edge?].child;
        seen.insert(key).then_some(NodeView { bql, key })
    });
    below_backends.chain(monitor_owned_nodes(bql).filter(|node| !node.has_backend()))
}

/// The nodes that the monitor owns, oldest first
/// (`bdrv_next_monitor_owned`).
pub fn monitor_owned_nodes<'b>(bql: &'b BqlGuard) -> impl Iterator<Item = NodeView<'b>> + use<'b> {
    nodes(bql).filter(|node| node.is_monitor_owned())
}

/// Every node, newest first, as users see the list
/// (`bdrv_named_nodes_list`, `bdrv_next_node`). Nodes that a job has put
/// somewhere are in it.
pub fn named_nodes<'b>(bql: &'b BqlGuard) -> impl Iterator<Item = NodeView<'b>> + use<'b> {
    let newest = bql.graph().all_nodes().rev();
    newest.map(move |key| NodeView { bql, key })
}

/// A walk over nodes that goes on after anything may have happened to them:
/// between two steps the caller may poll, drain, open and close nodes.
///
/// Each node comes once. One that is gone when its turn comes is left out,
/// one that is made meanwhile comes too.
///
/// ```
/// use block_gs::{BqlGuard, Walk};
///
/// /// Flushes whatever is in use, with nothing else going on.
/// fn flush_quietly(bql: &mut BqlGuard) -> Result<(), block_io::IoError> {
///     let mut walk = Walk::over_top_nodes();
///     while let Some(node) = walk.next(bql) {
///         node.drain(bql).io(async |request| request.flush().await)?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Walk {
    stage: Stage,
    /// The nodes that have come, in the order of their creation.
    seen: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Those below backends, then those of the monitor.
    Backends,
    Monitor,
    /// All of them, oldest first.
    All,
}

impl Walk {
    /// A walk over the nodes that [`top_nodes`] has.
    pub fn over_top_nodes() -> Walk {
        Walk {
            stage: Stage::Backends,
            seen: BTreeSet::new(),
        }
    }

    /// A walk over all nodes, oldest first (`bdrv_next_all_states`).
    pub fn over_all() -> Walk {
        Walk {
            stage: Stage::All,
            seen: BTreeSet::new(),
        }
    }

    /// The next node.
    pub fn next(&mut self, bql: &BqlGuard) -> Option<Node> {
        let found = self.find(bql)?;
        self.seen.insert(bql.graph().node(found).birth);
        Some(Node::of(bql, found))
    }

    fn find(&mut self, bql: &BqlGuard) -> Option<NodeKey> {
        let graph = bql.graph();
        let seen = &self.seen;
        let is_new = |key: &NodeKey| {
            let node = graph.node(*key);
            !node.closing && !seen.contains(&node.birth)
        };
        if let Stage::Backends = self.stage {
            let edges = graph.backends.values().filter_map(|backend| backend.edge);
            let mut below = edges.map(|edge| graph.edges[edge].child);
            if let Some(key) = below.find(is_new) {
                return Some(key);
            }
            self.stage = Stage::Monitor;
        }
        let all = matches!(self.stage, Stage::All);
        let is_wanted = |key: &NodeKey| all || graph.node(*key).monitor_owned;
        graph.all_nodes().find(|key| is_wanted(key) && is_new(key))
    }
}

/// Flushes every [top node](top_nodes), and with it what is below
/// (`bdrv_flush_all`). It runs the main loop, so it takes the exclusive proof.
/// Requests go on meanwhile; what they have written before is durable.
///
/// # Errors
/// The first error; the others have been flushed all the same.
pub fn flush_all(bql: &mut BqlGuard) -> Result<(), IoError> {
    let mut walk = Walk::over_top_nodes();
    let mut outcome = Ok(());
    while let Some(node) = walk.next(bql) {
        let flushed = match Activity::try_begin(node.io()) {
            Some(activity) => bql.block_on(async move { activity.request().flush().await }),
            // Quiesced by somebody who waits for us.
            None => node.drain(bql).io(async |request| request.flush().await),
        };
        outcome = outcome.and(flushed);
    }
    outcome
}

impl Node {
    /// The node that a user means: that of the backend `device`, or the one
    /// called `node` (`bdrv_lookup_bs`).
    ///
    /// # Errors
    /// [`GraphError::NoMedium`] when there is such a backend and it has no
    /// node, [`GraphError::NotFound`] when there is neither.
    pub fn lookup_by(
        bql: &BqlGuard,
        device: Option<&str>,
        node: Option<&str>,
    ) -> Result<Node, GraphError> {
        if let Some(name) = device
            && let Some(backend) = Backend::find(bql, name)
        {
            let below = backend.node(bql);
            return below.ok_or_else(|| GraphError::NoMedium(name.to_owned()));
        }
        let found = node.and_then(|name| Node::find(bql, name));
        found.ok_or_else(|| GraphError::NotFound {
            device: device.unwrap_or_default().to_owned(),
            node: node.unwrap_or_default().to_owned(),
        })
    }

    /// The backends directly above, oldest first (`bdrv_first_blk` and those
    /// that follow).
    pub fn backends(&self, bql: &BqlGuard) -> Vec<Backend> {
        let all = backends(bql);
        all.filter(|backend| backend.node(bql).as_ref() == Some(self))
            .collect()
    }
}
