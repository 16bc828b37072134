//! Reopening: a node goes on with other options, and whoever is above it does
//! not notice.
//!
//! It is a change like those of the graph, and part of the same
//! [`Transaction`]: several nodes are reopened and get other children together
//! or not at all, under one refresh of permissions. What a driver needs of its
//! own comes in three values, each of which uses the one before up:
//!
//! | step | value | may |
//! |---|---|---|
//! | [prepare](crate::BlockDriver::reopen_prepare) | [`PreparedReopen`] | fail, wait, do I/O |
//! | [commit](PreparedReopen::commit) | [`AfterReopen`] | neither: everything else has been decided |
//! | after | nothing | wait, do I/O; what fails fails for itself |
//!
//! So nothing is committed or aborted that was not prepared, nor both, nor
//! twice, and what is to be done after the commit does not come before it.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use block_common::error::errno;
use block_common::{GraphError, Role};
use block_io::{GraphCell, NodeFlags};

use crate::graph::section::Section;
use crate::graph::{NodeKey, write};
use crate::{BqlGuard, Drained, Node, NodeOptions, NodeView};

/// What a node is to be from now on, for [`Transaction::reopen`](crate::Transaction::reopen).
pub struct ReopenOptions {
    options: NodeOptions,
    settings: Option<Box<dyn Any + Send>>,
}

impl fmt::Debug for ReopenOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        write!(
            f,
            "ReopenOptions({options:?}, settings: {})",
            self.settings.is_some()
        )
    }
}

impl ReopenOptions {
    /// All that any node can be told. What its driver was told besides stays
    /// as it is.
    pub fn new(options: NodeOptions) -> Self {
        ReopenOptions {
            options,
            settings: None,
        }
    }

    /// Whether the node will be open for reading only.
    pub(crate) fn read_only(&self) -> bool {
        self.options.read_only
    }

    /// Tells the driver something too. Which type that is its driver says.
    pub fn settings<S: Any + Send>(mut self, settings: S) -> Self {
        self.settings = Some(Box::new(settings));
        self
    }
}

/// What a driver is asked to get ready for (`BDRVReopenState`).
#[derive(Debug)]
pub struct ReopenTo<'r> {
    before: NodeOptions,
    options: &'r ReopenOptions,
}

impl ReopenTo<'_> {
    /// What any node can be told, as it is now.
    pub fn before(&self) -> NodeOptions {
        self.before
    }

    /// The same, as it will be.
    pub fn options(&self) -> NodeOptions {
        self.options.options
    }

    /// What this driver is told; `None` leaves it as it is.
    ///
    /// # Errors
    /// [`GraphError::Refused`] when what was given is for another driver.
    pub fn settings<S: Any>(&self) -> Result<Option<&S>, GraphError> {
        let Some(settings) = &self.options.settings else {
            return Ok(None);
        };
        match settings.downcast_ref() {
            Some(settings) => Ok(Some(settings)),
            None => Err(refused(
                errno::EINVAL,
                "The settings are those of another driver".to_owned(),
            )),
        }
    }
}

/// What is left to do when a reopen has taken effect
/// (`bdrv_reopen_commit_post`).
pub type AfterReopen = Option<Box<dyn FnOnce(&mut Drained<'_>)>>;

/// What a driver has got ready for a reopen (`BDRVReopenState.opaque`).
///
/// It ends in one of two ways, and both use it up. Dropping it gives up what
/// was got ready, so a driver that needs no guard for that implements
/// [`commit`](PreparedReopen::commit) alone.
pub trait PreparedReopen {
    /// It takes effect (`bdrv_reopen_commit`). Nothing is in flight above the
    /// node, the graph below it is the new one, and nothing polls. Cannot
    /// fail. Returns what is to follow when permissions have been granted and
    /// everything is over; that may do I/O.
    fn commit(self: Box<Self>, reopen: &mut ReopenCommit<'_>) -> AfterReopen;

    /// It does not take effect (`bdrv_reopen_abort`). All is as it was before
    /// it was prepared.
    fn abort(self: Box<Self>, _bql: &BqlGuard, _node: &Node) {}
}

/// Nothing was to be got ready.
impl PreparedReopen for () {
    fn commit(self: Box<Self>, _reopen: &mut ReopenCommit<'_>) -> AfterReopen {
        None
    }
}

/// Proof that a reopen has been decided and its node is drained. What it
/// does cannot fail and never waits.
pub struct ReopenCommit<'c> {
    bql: &'c BqlGuard,
    section: &'c Section,
    node: &'c Node,
}

impl fmt::Debug for ReopenCommit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReopenCommit({})", self.node.name())
    }
}

impl Deref for ReopenCommit<'_> {
    type Target = BqlGuard;

    fn deref(&self) -> &BqlGuard {
        self.bql
    }
}

impl ReopenCommit<'_> {
    /// The node that is reopened.
    pub fn node(&self) -> &Node {
        self.node
    }

    /// Replaces a value that requests for this node read without a lock.
    ///
    /// # Panics
    /// When the cell belongs to another node.
    pub fn set<T>(&mut self, cell: &GraphCell<T>, value: T) -> T {
        let key = self.node.key(self.bql);
        write::set_cell(self.bql, self.section, key, cell, value)
    }
}

/// A node that is ready to be reopened.
pub(crate) struct Ready {
    node: Node,
    options: NodeOptions,
    prepared: Box<dyn PreparedReopen>,
}

impl Ready {
    /// Asks the driver. The node is covered by a section.
    ///
    /// # Errors
    /// Its refusal.
    pub fn prepare(
        bql: &mut BqlGuard,
        node: &Node,
        options: &ReopenOptions,
    ) -> Result<Ready, GraphError> {
        let view = node.view(bql);
        let before = view.options();
        let driver = Arc::clone(&bql.graph().node(node.key(bql)).driver);
        view.check_reopens()?;
        options.check(view)?;
        let to = ReopenTo { before, options };
        let prepared = driver.reopen_prepare(&mut node.drain(bql), &to)?;
        Ok(Ready {
            node: node.clone(),
            options: to.options(),
            prepared,
        })
    }

    pub fn key(&self, bql: &BqlGuard) -> NodeKey {
        self.node.key(bql)
    }

    /// Lets requests see the new flags, and the driver's new state.
    pub fn commit(self, bql: &mut BqlGuard, section: &Section) -> (Node, AfterReopen) {
        let Ready {
            node,
            options,
            prepared,
        } = self;
        let key = node.key(bql);
        let flags = options.flags();
        for flag in NodeOptions::REOPENED.iter() {
            write::set_flag(bql, section, key, flag, flags.contains(flag));
        }
        let mut reopen = ReopenCommit {
            bql,
            section,
            node: &node,
        };
        let after = prepared.commit(&mut reopen);
        (node, after)
    }

    pub fn abort(self, bql: &BqlGuard) {
        self.prepared.abort(bql, &self.node);
    }
}

impl NodeOptions {
    /// What of the flags of a node a reopen changes.
    const REOPENED: NodeFlags = NodeFlags::READ_ONLY
        .union(NodeFlags::UNMAP)
        .union(NodeFlags::NO_FLUSH)
        .union(NodeFlags::DETECT_ZEROES)
        .union(NodeFlags::DETECT_UNMAP);

    /// What cannot change, by the name of its option.
    pub(crate) fn fixed_difference(self, other: NodeOptions) -> Option<&'static str> {
        if self.force_share != other.force_share {
            return Some("force-share");
        }
        (self.inactive != other.inactive).then_some("active")
    }
}

impl ReopenOptions {
    /// Whether the node can become that, as far as it is the same for all
    /// drivers.
    ///
    /// # Errors
    /// [`GraphError::Refused`], "Cannot change the option".
    fn check(&self, node: NodeView<'_>) -> Result<(), GraphError> {
        match node.options().fixed_difference(self.options) {
            None => Ok(()),
            Some(option) => Err(refused(
                errno::EINVAL,
                format!("Cannot change the option '{option}'"),
            )),
        }
    }
}

/// What else is reopened when a node becomes read-only or writable: filters
/// that nobody has put above it, which show what it is.
pub(crate) fn followers(node: NodeView<'_>, read_only: bool) -> Vec<(Node, ReopenOptions)> {
    let was = node.options().read_only;
    let mut found = Vec::new();
    if read_only == was {
        return found;
    }
    let mut below = vec![node];
    while let Some(child) = below.pop() {
        let above = child.parents().filter_map(|edge| edge.parent_node());
        let follows = |above: &NodeView<'_>| {
            above.is_implicit()
                && above
                    .filter_node()
                    .is_some_and(|shown| shown.key == child.key)
                && above.options().read_only == was
                && above.driver().reopens()
        };
        for filter in above.filter(follows) {
            let options = NodeOptions {
                read_only,
                ..filter.options()
            };
            found.push((filter.node(node.bql), ReopenOptions::new(options)));
            below.push(filter);
        }
    }
    found
}

/// Where a node that was described within its parent has its options from
/// (`bs->inherits_from`).
#[derive(Clone, Debug)]
pub struct Heritage {
    /// The parent.
    pub from: Node,
    /// Nobody has said about this node whether it is read-only: it is when
    /// the parent is.
    pub read_only: bool,
}

/// The same in the graph, which keeps nobody alive with it.
#[derive(Clone, Copy)]
pub(crate) struct Inherited {
    from: NodeKey,
    read_only: bool,
}

impl Node {
    /// Says from which parent the node has its options.
    pub fn set_heritage(&self, bql: &mut BqlGuard, heritage: Option<Heritage>) {
        let inherited = heritage.map(|heritage| Inherited {
            from: heritage.from.key(bql),
            read_only: heritage.read_only,
        });
        let key = self.key(bql);
        bql.graph_mut().nodes[key].heritage = inherited;
    }

    /// Keeps with the node how it was described by whoever made it
    /// (`bs->options`). A later one takes the place of the first.
    pub fn set_description<T: Any + Send>(&self, bql: &mut BqlGuard, description: T) {
        let key = self.key(bql);
        bql.graph_mut().nodes[key].description = Some(Box::new(description));
    }

    /// Opens the node again, for reading only or for writing too, and with it
    /// those below that were described within it and were not said to be
    /// otherwise (`bdrv_reopen_set_read_only`). Backing images stay as they
    /// are.
    ///
    /// # Errors
    /// Those of [`Transaction::commit`](crate::Transaction::commit): from the
    /// driver, which may not get the file for writing; from the permission
    /// system, when somebody writes to what is to be read-only
    /// ([`GraphError::ReadOnlyWithWriters`]). All is as before then.
    pub fn set_read_only(&self, bql: &mut BqlGuard, read_only: bool) -> Result<(), GraphError> {
        let mut section = self.drain(bql);
        let mut plan = vec![self.clone()];
        let mut next = 0;
        while let Some(parent) = plan.get(next).cloned() {
            let view = parent.view(&section);
            let heirs = view.children().filter(|edge| {
                let child = edge.child();
                let follows = child.inherited_from(view).is_some_and(|of| of.read_only);
                follows
                    && !edge.role().contains(Role::COW)
                    && child.options().read_only != read_only
            });
            let heirs: Vec<Node> = heirs.map(|edge| edge.child().node(&section)).collect();
            plan.extend(heirs);
            next += 1;
        }
        let options: Vec<NodeOptions> = plan
            .iter()
            .map(|node| NodeOptions {
                read_only,
                ..node.view(&section).options()
            })
            .collect();
        let mut changes = section.transaction();
        for (node, options) in plan.iter().zip(options) {
            changes.at(node).reopen(ReopenOptions::new(options));
        }
        changes.commit()
    }
}

impl<'g> NodeView<'g> {
    /// What any node can be told, as it is for this one.
    pub fn options(self) -> NodeOptions {
        let node = self.graph().node(self.key);
        NodeOptions {
            force_share: node.force_share,
            inactive: node.inactive,
            ..NodeOptions::from_flags(node.io.flags())
        }
    }

    /// How the node was described, if it was as a `T`.
    pub fn description<T: Any + Send>(self) -> Option<&'g T> {
        let description = self.graph().node(self.key).description.as_ref()?;
        description.downcast_ref()
    }

    /// Whether the node has its options from `parent`, within which it was
    /// described.
    pub fn inherits_from(self, parent: NodeView<'_>) -> bool {
        self.inherited_from(parent).is_some()
    }

    fn inherited_from(self, parent: NodeView<'_>) -> Option<Inherited> {
        let heritage = self.graph().node(self.key).heritage;
        heritage.filter(|heritage| heritage.from == parent.key)
    }

    /// Whether the node's driver can be reopened at all.
    ///
    /// # Errors
    /// [`GraphError::Refused`], in QEMU's words.
    pub fn check_reopens(self) -> Result<(), GraphError> {
        if self.driver().reopens() {
            return Ok(());
        }
        Err(refused(
            errno::ENOTSUP,
            format!(
                "Block format '{}' used by node '{}' does not support reopening files",
                self.driver().format_name(),
                self.device_or_node_name()
            ),
        ))
    }
}

impl Drained<'_> {
    /// Opens the node again, with other options (`bdrv_reopen`).
    ///
    /// # Errors
    /// As [`Transaction::commit`](crate::Transaction::commit).
    pub fn reopen(&mut self, options: ReopenOptions) -> Result<(), GraphError> {
        let mut transaction = self.transaction();
        transaction.reopen(options);
        transaction.commit()
    }
}

fn refused(errno: i32, message: String) -> GraphError {
    GraphError::Refused { message, errno }
}
