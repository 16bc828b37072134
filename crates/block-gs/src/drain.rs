//! Drained sections: the proof that nothing is in flight.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::{Duration, Instant};

use block_common::{GraphError, Role};
use block_io::{GraphCell, NodeFlags, Request};

use crate::bitmaps::NamedBitmap;
use crate::builder::DetectZeroes;
use crate::graph::NodeKey;
use crate::graph::section::{Exactly, Scope};
use crate::graph::write;
use crate::transaction::Transaction;
use crate::{BqlGuard, MainLoop, MainLoopGone, Node, context_change, owner_io};

/// Proof that a node is quiesced: every request above it has finished, and
/// none can start until this value is dropped (`bdrv_drained_begin` to
/// `bdrv_drained_end`).
///
/// It is what writing the graph takes. The write operations are its methods
/// and act on the node inside, so the proof for one node cannot be used on
/// another. It borrows the main loop's guard exclusively: while it exists the
/// guard can be *read* through it (it dereferences to [`BqlGuard`]), but
/// nothing can poll behind its back, and it cannot leave its scope.
///
/// Sections nest: [`also`](Drained::also) opens one inside. Dropping a
/// section ends it, whether by `return`, `?` or panic; that never waits, and
/// lets parked requests run once the last section over their root has ended.
/// Forgetting it leaves the node quiesced and breaks nothing.
///
/// ```
/// use block_gs::{BqlGuard, GraphError, Node};
///
/// fn swap_file(bql: &mut BqlGuard, disk: &Node, file: &Node) -> Result<(), GraphError> {
///     disk.drain(bql).replace_child("file", file)
/// }
/// ```
#[must_use = "the drained section ends when this is dropped; bind it to a name, `let _` drops it at once"]
pub struct Drained<'a> {
    scope: Scope<'a>,
    node: Node,
}

impl fmt::Debug for Drained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Drained({})", self.node.name())
    }
}

impl Deref for Drained<'_> {
    type Target = BqlGuard;

    fn deref(&self) -> &BqlGuard {
        self.scope.bql
    }
}

impl Node {
    /// Opens a drained section over this node: quiesces it and everything
    /// above, and runs the main loop until no request is in flight there.
    /// Nodes below are not quiesced, they just get nothing from here.
    ///
    /// # Panics
    /// When the node belongs to another block layer.
    pub fn drain<'a>(&self, bql: &'a mut BqlGuard) -> Drained<'a> {
        bql.graph_mut().sections += 1;
        Drained {
            scope: Scope::open(bql, [self.clone()]),
            node: self.clone(),
        }
    }

    /// As [`drain`](Node::drain), for who can do without: if requests are
    /// still in flight after `limit` there is no section, and those that have
    /// come meanwhile go on. A disk that does not answer thus holds up others
    /// for no longer than that. (QEMU has no such thing: `bdrv_drained_begin`
    /// waits.)
    ///
    /// With a limit of zero it looks once, and runs the main loop not at all.
    ///
    /// # Panics
    /// When the node belongs to another block layer.
    pub fn try_drain<'a>(&self, bql: &'a mut BqlGuard, limit: Duration) -> Option<Drained<'a>> {
        bql.graph_mut().sections += 1;
        let end = Instant::now().checked_add(limit);
        Some(Drained {
            scope: Scope::try_open(bql, [self.clone()], end)?,
            node: self.clone(),
        })
    }

    /// Runs `f` in a drained section over this node, asked for by I/O code:
    /// the main loop opens the section, and the caller awaits the answer
    /// (`bdrv_co_yield_to_drain`).
    ///
    /// Do not hold an [`InFlight`](block_io::InFlight) above the node: the
    /// section would wait for it for ever.
    ///
    /// # Errors
    /// [`MainLoopGone`].
    pub async fn drained_by<R: Send + 'static>(
        &self,
        main: &MainLoop,
        f: impl FnOnce(&mut Drained<'_>) -> R + Send + 'static,
    ) -> Result<R, MainLoopGone> {
        let node = self.clone();
        main.call(move |bql| f(&mut node.drain(bql))).await
    }
}

impl<'a> Drained<'a> {
    /// The node that is drained.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Opens a section over another node, inside this one. It ends first.
    pub fn also<'b>(&'b mut self, node: &Node) -> Drained<'b> {
        node.drain(self.scope.bql)
    }

    /// Opens a section over the whole graph, inside this one. It ends first.
    pub fn also_all(&mut self) -> DrainedAll<'_> {
        drain_all(self.scope.bql)
    }

    /// Ends the section. Dropping does the same; this says so.
    pub fn end(self) {}

    /// Does what takes the exclusive proof, inside the section. It is not for
    /// everybody: `f` must not wait for a request of this node.
    pub(crate) fn with_guard<R>(&mut self, f: impl FnOnce(&mut BqlGuard) -> R) -> R {
        f(self.scope.bql)
    }

    /// Does I/O inside the section, and runs the main loop until it is done
    /// (`flush` in a reopen, say). The request passes the gates that the
    /// section keeps closed; the graph cannot be written meanwhile, because
    /// the section is borrowed. Sections that other main-loop code opens
    /// while this polls wait for the request like for any other.
    ///
    /// What the request has begun and not ended (a transfer that was given
    /// up, an [`Activity`](block_io::Activity) of its own) is waited for
    /// before the graph is written.
    pub fn io<T>(&mut self, f: impl AsyncFnOnce(Request<'_>) -> T) -> T {
        owner_io::run(self.scope.bql, &self.node, &self.scope.section, f)
    }

    /// Runs the main loop inside the section until `future` is done.
    pub fn block_on<T>(&mut self, future: impl Future<Output = T>) -> T {
        self.scope.bql.block_on(future)
    }

    /// Replaces a value that requests for this node read without a lock.
    /// Waits first for what [`io`](Drained::io) has left behind, if anything.
    ///
    /// # Panics
    /// When the cell belongs to another node.
    pub fn set<T>(&mut self, cell: &GraphCell<T>, value: T) -> T {
        let key = self.key();
        self.scope.settle();
        write::set_cell(self.scope.bql, &self.scope.section, key, cell, value)
    }

    /// Changes what the node does with writes of zeroes.
    pub fn set_detect_zeroes(&mut self, detect: DetectZeroes) {
        for flag in DetectZeroes::Unmap.flags().iter() {
            self.set_flag(flag, detect.flags().contains(flag));
        }
    }

    /// Lets requests of the node that overlap wait for each other where one of
    /// them asks for it ([`WriteFlags::SERIALISING`](block_io::WriteFlags)).
    /// It costs every request a lock, so it has to be asked for. Nodes whose
    /// request alignment is more than 1 always do it.
    pub fn track_overlaps(&mut self) {
        self.set_flag(NodeFlags::TRACKED, true);
    }

    /// Calls `tell`, once, with the node's name, by how much, and `threshold`,
    /// when a write or discard ends beyond `threshold` bytes
    /// (`bdrv_write_threshold_set`, `BLOCK_WRITE_THRESHOLD`). 0 calls nobody.
    /// It is called on the thread of the write, before the write is done.
    pub fn set_write_threshold(
        &mut self,
        threshold: u64,
        tell: impl FnOnce(&str, u64, u64) + Send + 'static,
    ) {
        let io = std::sync::Arc::clone(self.node.io());
        io.set_threshold(self.scope.bql.access(), threshold, Box::new(tell));
        self.set_flag(NodeFlags::WATCHED, threshold > 0);
    }

    /// Waits for what [`io`](Drained::io) has left behind, if anything. What
    /// runs meanwhile may change what the caller has looked at.
    pub(crate) fn settle(&mut self) {
        self.scope.settle();
    }

    pub(crate) fn set_flag(&mut self, flag: NodeFlags, on: bool) {
        let key = self.key();
        self.scope.settle();
        write::set_flag(self.scope.bql, &self.scope.section, key, flag, on);
    }

    /// Several changes, all or nothing; see [`Transaction`].
    pub fn transaction(&mut self) -> Transaction<'_> {
        let key = self.key();
        Transaction::new(self.scope.bql, &mut self.scope.section, key)
    }

    /// Asks the driver anew what the node needs of its requests, and what is
    /// above as far as that changes it (`bdrv_refresh_limits`). Changes of the
    /// graph do it by themselves.
    ///
    /// # Errors
    /// [`GraphError::Refused`] for limits that cannot be; they are as before
    /// then.
    pub fn refresh_limits(&mut self) -> Result<(), GraphError> {
        let mut transaction = self.transaction();
        transaction.touch();
        transaction.commit()
    }

    /// Adds `child` below this node (`bdrv_attach_child`).
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub fn attach_child(&mut self, name: &str, child: &Node, role: Role) -> Result<(), GraphError> {
        let mut transaction = self.transaction();
        transaction.attach_child(name, child, role);
        transaction.commit()
    }

    /// Removes the child called `name` (`bdrv_unref_child`). The child goes
    /// back to the main loop, unless others keep it where it is.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub fn detach_child(&mut self, name: &str) -> Result<(), GraphError> {
        let edge = self.node().view(self).child(name);
        let child = edge.map(|edge| edge.child().node(self));
        let mut transaction = self.transaction();
        transaction.detach_child(name);
        transaction.commit()?;
        if let Some(child) = child {
            context_change::go_back(self.scope.bql, &child);
        }
        Ok(())
    }

    /// Points the edge called `name` to another node
    /// (`bdrv_replace_child_bs`).
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub fn replace_child(&mut self, name: &str, new: &Node) -> Result<(), GraphError> {
        let mut transaction = self.transaction();
        transaction.replace_child(name, new);
        transaction.commit()
    }

    /// Sets, replaces or removes the backing image (`bdrv_set_backing_hd`).
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub fn set_backing(&mut self, backing: Option<&Node>) -> Result<(), GraphError> {
        let mut transaction = self.transaction();
        transaction.set_backing(backing);
        transaction.commit()
    }

    /// Redirects every parent of this node to `to` (`bdrv_replace_node`).
    /// Parents that stay at their node, and those below `to`, are left alone.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub fn replace_with(&mut self, to: &Node) -> Result<(), GraphError> {
        let mut transaction = self.transaction();
        transaction.replace_with(to);
        transaction.commit()
    }

    /// Puts `top` above this node: this node becomes its backing image, or
    /// for a filter its file, and every parent goes through `top`
    /// (`bdrv_append`). This is how a filter is inserted.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub fn append(&mut self, top: &Node) -> Result<(), GraphError> {
        let mut transaction = self.transaction();
        transaction.append(top);
        transaction.commit()
    }

    /// Takes this node, a filter, out of the graph: its parents go to its
    /// child directly (`bdrv_drop_filter`).
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub fn drop_filter(&mut self) -> Result<(), GraphError> {
        let mut transaction = self.transaction();
        transaction.drop_filter();
        transaction.commit()
    }

    /// The list of the node's bitmaps.
    pub(crate) fn named_bitmaps(&mut self) -> &mut Vec<NamedBitmap> {
        let key = self.key();
        &mut self.scope.bql.graph_mut().nodes[key].bitmaps
    }

    fn key(&self) -> NodeKey {
        self.node.key(self.scope.bql)
    }
}

/// A drained section over several nodes at once, however many: all are
/// quiesced before the first is waited for.
///
/// To write the graph, open a section [`also`](DrainedSet::also) over the
/// node in question; for one of this set it waits for nothing.
#[must_use = "the drained section ends when this is dropped; bind it to a name, `let _` drops it at once"]
pub struct DrainedSet<'a> {
    scope: Scope<'a>,
}

impl fmt::Debug for DrainedSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DrainedSet")
    }
}

impl Deref for DrainedSet<'_> {
    type Target = BqlGuard;

    fn deref(&self) -> &BqlGuard {
        self.scope.bql
    }
}

/// Opens one drained section over all of `nodes`.
///
/// # Panics
/// When a node belongs to another block layer.
pub fn drain_many<'a>(
    bql: &'a mut BqlGuard,
    nodes: impl IntoIterator<Item = Node>,
) -> DrainedSet<'a> {
    bql.graph_mut().sections += 1;
    DrainedSet {
        scope: Scope::open(bql, nodes),
    }
}

impl DrainedSet<'_> {
    /// Opens a section over one node, inside this one.
    pub fn also<'b>(&'b mut self, node: &Node) -> Drained<'b> {
        node.drain(self.scope.bql)
    }

    /// Opens a section over the whole graph, inside this one.
    pub fn also_all(&mut self) -> DrainedAll<'_> {
        drain_all(self.scope.bql)
    }

    /// Ends the section. Dropping does the same; this says so.
    pub fn end(self) {}
}

/// A drained section over the whole graph, and over every node that is made
/// before it ends (`bdrv_drain_all_begin` to `bdrv_drain_all_end`).
#[must_use = "the drained section ends when this is dropped; bind it to a name, `let _` drops it at once"]
pub struct DrainedAll<'a> {
    bql: &'a mut BqlGuard,
    exact: Exactly<'a>,
}

impl fmt::Debug for DrainedAll<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DrainedAll")
    }
}

impl Drop for DrainedAll<'_> {
    fn drop(&mut self) {
        // Also when a device panics, the nodes are no longer quiesced.
        let rest = EndAll(self.bql);
        crate::backend_drain::open_empty_roots(rest.0);
    }
}

struct EndAll<'a>(&'a mut BqlGuard);

impl Drop for EndAll<'_> {
    fn drop(&mut self) {
        crate::graph::quiesce::end_all(self.0);
    }
}

impl Deref for DrainedAll<'_> {
    type Target = BqlGuard;

    fn deref(&self) -> &BqlGuard {
        self.bql
    }
}

/// Opens a drained section over the whole graph, and over the backends that
/// have no node when it opens.
pub fn drain_all(bql: &mut BqlGuard) -> DrainedAll<'_> {
    bql.graph_mut().sections += 1;
    let effects = bql.graph_mut().begin_all();
    let drained = DrainedAll {
        bql,
        exact: PhantomData,
    };
    effects.run(drained.bql);
    crate::backend_drain::close_empty_roots(drained.bql);
    crate::graph::quiesce::wait_until_all_idle(drained.bql);
    drained
}

impl DrainedAll<'_> {
    /// Opens a section over one node, inside this one.
    pub fn also<'b>(&'b mut self, node: &Node) -> Drained<'b> {
        node.drain(self.bql)
    }

    /// Global-state operations inside the section that need the exclusive
    /// proof, such as opening a node: it is born quiesced. What `f` polls
    /// runs inside the section.
    pub fn with<R>(&mut self, f: impl FnOnce(&mut BqlGuard) -> R) -> R {
        f(self.bql)
    }

    /// Ends the section. Dropping does the same; this says so.
    pub fn end(self) {}
}

/// How many drained sections have been opened in this block layer.
pub fn sections_opened(bql: &BqlGuard) -> u64 {
    bql.graph().sections
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::section::Section;

    /// A reference is a word, also one to a guard without size: what a
    /// section has for the proof alone.
    const REFERENCE: usize = size_of::<&mut BqlGuard>();

    static_assertions::const_assert_eq!(REFERENCE, size_of::<usize>());
    static_assertions::const_assert_eq!(
        size_of::<Drained<'static>>(),
        size_of::<(Section, Node)>() + REFERENCE
    );
    static_assertions::const_assert_eq!(
        size_of::<DrainedSet<'static>>(),
        size_of::<Section>() + REFERENCE
    );
    static_assertions::const_assert_eq!(size_of::<DrainedAll<'static>>(), REFERENCE);
}
