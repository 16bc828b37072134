//! Making nodes.

use std::fmt;
use std::sync::Arc;

use block_common::{BlockLimits, GraphError, IoError, Role, names};
use block_io::{IoNode, NodeFlags, NodeIdentity, NodeUid, Request};

use crate::drain::Drained;
use crate::driver::BlockDriver;
use crate::graph::NodeState;
use crate::{BqlGuard, Node};

/// A node about to be made (`bdrv_open` from its driver on).
///
/// ```
/// # use std::sync::Arc;
/// use block_gs::{BlockDriver, BqlGuard, GraphError, Node, NodeBuilder};
/// use block_common::Role;
///
/// fn over(
///     bql: &mut BqlGuard,
///     driver: Arc<dyn BlockDriver>,
///     file: &Node,
/// ) -> Result<Node, GraphError> {
///     NodeBuilder::new("disk").child("file", file, Role::IMAGE).open(bql, driver)
/// }
/// ```
#[must_use = "the node is made by `open`"]
pub struct NodeBuilder {
    identity: NodeIdentity,
    name: String,
    children: Vec<(String, Node, Role)>,
    options: NodeOptions,
    never_freeze: bool,
    implicit: bool,
}

/// What a node does with writes of nothing but zeroes (`detect-zeroes`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum DetectZeroes {
    /// It does not look.
    #[default]
    Off,
    /// It makes them zero writes.
    On,
    /// It makes them zero writes that may give the space back.
    Unmap,
}

impl DetectZeroes {
    pub(crate) fn of(flags: NodeFlags) -> Self {
        let on = flags.contains(NodeFlags::DETECT_ZEROES);
        match (on, flags.contains(NodeFlags::DETECT_UNMAP)) {
            (false, _) => DetectZeroes::Off,
            (true, false) => DetectZeroes::On,
            (true, true) => DetectZeroes::Unmap,
        }
    }

    pub(crate) fn flags(self) -> NodeFlags {
        match self {
            DetectZeroes::Off => NodeFlags::empty(),
            DetectZeroes::On => NodeFlags::DETECT_ZEROES,
            DetectZeroes::Unmap => NodeFlags::DETECT_ZEROES | NodeFlags::DETECT_UNMAP,
        }
    }
}

/// What a user can say about any node, whatever its driver.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct NodeOptions {
    /// Open for reading only (`read-only`).
    pub read_only: bool,
    /// Discards, and zero writes that may give space back, reach the driver
    /// (`discard=unmap`).
    pub unmap: bool,
    /// Flushes end before the disk (`cache.no-flush`): for data that nobody
    /// needs after a crash.
    pub no_flush: bool,
    /// What happens to writes of zeroes (`detect-zeroes`).
    pub detect_zeroes: DetectZeroes,
    /// Whatever its parents say, others may do anything with it
    /// (`force-share`).
    pub force_share: bool,
    /// Another process owns the image; [`Node::activate`] takes it over
    /// (`active=off`).
    pub inactive: bool,
}

impl NodeOptions {
    /// What the flags of a node say about how it was opened.
    pub(crate) fn from_flags(flags: NodeFlags) -> Self {
        let detect_zeroes = match (
            flags.contains(NodeFlags::DETECT_ZEROES),
            flags.contains(NodeFlags::DETECT_UNMAP),
        ) {
            (false, _) => DetectZeroes::Off,
            (true, false) => DetectZeroes::On,
            (true, true) => DetectZeroes::Unmap,
        };
        NodeOptions {
            read_only: flags.contains(NodeFlags::READ_ONLY),
            unmap: flags.contains(NodeFlags::UNMAP),
            no_flush: flags.contains(NodeFlags::NO_FLUSH),
            detect_zeroes,
            ..NodeOptions::default()
        }
    }

    pub(crate) fn flags(self) -> NodeFlags {
        let mut flags = self.detect_zeroes.flags();
        flags.set(NodeFlags::READ_ONLY, self.read_only);
        flags.set(NodeFlags::UNMAP, self.unmap);
        flags.set(NodeFlags::NO_FLUSH, self.no_flush);
        flags.set(NodeFlags::INACTIVE, self.inactive);
        flags
    }
}

impl fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeBuilder({})", self.name)
    }
}

impl NodeBuilder {
    /// A node called `name`; with an empty name it gets one that users cannot
    /// give.
    pub fn new(name: &str) -> Self {
        NodeBuilder {
            identity: NodeIdentity::fresh(),
            name: name.to_owned(),
            children: Vec::new(),
            options: NodeOptions::default(),
            never_freeze: false,
            implicit: false,
        }
    }

    /// Which node it will be: for the [`GraphCell`](block_io::GraphCell)s of
    /// its driver.
    pub fn uid(&self) -> NodeUid {
        self.identity.uid()
    }

    /// The name it will have; may be empty.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives it a child from the beginning.
    pub fn child(mut self, name: &str, child: &Node, role: Role) -> Self {
        self.children.push((name.to_owned(), child.clone(), role));
        self
    }

    /// Sets what a user has said about it.
    pub fn options(mut self, options: NodeOptions) -> Self {
        self.options = options;
        self
    }

    /// Opens it for reading only.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.options.read_only = read_only;
        self
    }

    /// Lets others do anything with it, whatever its parents say
    /// (`force-share`).
    pub fn force_share(mut self, force_share: bool) -> Self {
        self.options.force_share = force_share;
        self
    }

    /// Forbids that links to it be frozen (`never_freeze`).
    pub fn never_freeze(mut self, never_freeze: bool) -> Self {
        self.never_freeze = never_freeze;
        self
    }

    /// Says that a job has put it there and not a user (`bs->implicit`).
    pub fn implicit(mut self, implicit: bool) -> Self {
        self.implicit = implicit;
        self
    }

    /// Makes the node: attaches its children, checks permissions and asks the
    /// driver for the length. It is born quiesced if the whole graph is.
    ///
    /// # Errors
    /// [`GraphError::InvalidNodeName`], [`GraphError::NodeNameTooLong`],
    /// [`GraphError::DuplicateNodeName`], [`GraphError::NameIsDevice`] for
    /// the name; those of [`Transaction::commit`](crate::Transaction::commit)
    /// for the children; [`GraphError::CouldNotOpen`] when the length cannot
    /// be found out. No node has been made then.
    pub fn open(
        self,
        bql: &mut BqlGuard,
        driver: Arc<dyn BlockDriver>,
    ) -> Result<Node, GraphError> {
        bql.reap();
        let made = self.make(bql, driver);
        if made.is_err() {
            // Its only handle has been dropped; nobody is to find it.
            bql.reap();
        }
        made
    }

    fn make(self, bql: &mut BqlGuard, driver: Arc<dyn BlockDriver>) -> Result<Node, GraphError> {
        let name = self.checked_name(bql)?;
        let NodeBuilder {
            identity,
            children,
            options,
            never_freeze,
            implicit,
            ..
        } = self;
        let context = match children.first() {
            Some((_, child, _)) => child.io().context(),
            None => bql.context().clone(),
        };
        let io_driver: Arc<dyn block_io::DriverIo> = driver.clone();
        let io = IoNode::new(identity, &name, io_driver, context, options.flags());
        let node = register(
            bql,
            NodeState {
                io,
                driver,
                parents: Default::default(),
                children: Default::default(),
                bitmaps: Vec::new(),
                buffers: Vec::new(),
                quiesce: 0,
                hold: Default::default(),
                monitor_owned: false,
                writable: !options.read_only,
                inactive: options.inactive,
                implicit,
                blockers: Vec::new(),
                context_notifiers: Vec::new(),
                limits: BlockLimits::default(),
                force_share: options.force_share,
                never_freeze,
                opened: false,
                closing: false,
                farewell: false,
                rank: 0,
                birth: 0,
                walk: 0,
                heritage: None,
                description: None,
            },
        );
        node.io().set_events(bql.access(), bql.events());
        // On an error the handle is dropped, and the node with it.
        let mut section = node.drain(bql);
        let mut changes = section.transaction();
        for (name, child, role) in &children {
            changes.attach_child(name, child, *role);
        }
        changes.touch();
        changes.commit()?;
        read_length(&mut section).map_err(|error| GraphError::CouldNotOpen {
            name: node.name().to_owned(),
            error,
        })?;
        drop(section);
        let key = node.key(bql);
        let effects = bql.graph_mut().mark_opened(key);
        let driver = Arc::clone(&bql.graph().node(key).driver);
        driver.opened(bql, node.io());
        effects.run(bql);
        Ok(node)
    }

    fn checked_name(&self, bql: &mut BqlGuard) -> Result<String, GraphError> {
        if self.name.is_empty() {
            return Ok(bql.graph_mut().automatic_name());
        }
        names::check_node_name(&self.name)?;
        let graph = bql.graph();
        if graph.backend_by_name(&self.name).is_some() {
            return Err(GraphError::NameIsDevice(self.name.clone()));
        }
        if graph.node_by_name(&self.name).is_some() {
            return Err(GraphError::DuplicateNodeName(self.name.clone()));
        }
        Ok(self.name.clone())
    }
}

fn register(bql: &mut BqlGuard, state: NodeState) -> Node {
    let key = bql.graph_mut().insert_node(state);
    let effects = bql.graph_mut().be_born(key);
    effects.run(bql);
    Node::of(bql, key)
}

fn read_length(section: &mut Drained<'_>) -> Result<u64, IoError> {
    section.io(async |request: Request<'_>| request.refresh_length().await)
}
