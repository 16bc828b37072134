//! Changes of the graph, all or nothing.

use std::fmt;

use block_common::{BlockLimits, GraphError, IoError, Perm, Role};
use block_io::Request;
use block_io::aio::AioContext;
use smallvec::SmallVec;

use crate::graph::section::Section;
use crate::graph::write::{self, NewEdge, NewParent};
use crate::graph::{EdgeKey, Graph, NodeKey, ParentRef};
use crate::reopen::{self, AfterReopen, Ready, ReopenOptions};
use crate::{BqlGuard, Node, buffers, context_change, limits, permissions};

/// Several changes of the graph that happen together or not at all
/// (`Transaction` and the `bdrv_*_noperm` functions).
///
/// The value is a plan. Changes are only noted until
/// [`commit`](Transaction::commit), so dropping it half way leaves nothing
/// half done. `commit` drains what else it needs *first*, while polling is
/// still harmless; then it applies the changes in order without ever polling;
/// then it refreshes permissions. On any refusal it undoes everything, newest
/// first.
///
/// It borrows the drained section exclusively: it cannot outlive it, and the
/// node it starts from is the one that is drained.
///
/// ```
/// use block_gs::{BqlGuard, GraphError, Node};
///
/// fn rebase(
///     bql: &mut BqlGuard,
///     overlay: &Node,
///     other: &Node,
///     base: &Node,
/// ) -> Result<(), GraphError> {
///     let mut section = overlay.drain(bql);
///     let mut changes = section.transaction();
///     changes.set_backing(Some(base));
///     changes.at(other).set_backing(Some(base));
///     changes.commit()
/// }
/// ```
#[must_use = "nothing changes until the transaction is committed"]
pub struct Transaction<'t> {
    bql: &'t mut BqlGuard,
    section: &'t mut Section,
    subject: NodeKey,
    changes: SmallVec<[Change; 2]>,
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transaction({} changes)", self.changes.len())
    }
}

struct Change {
    subject: Node,
    action: Action,
}

enum Action {
    Attach {
        name: String,
        child: Node,
        role: Role,
    },
    Detach {
        name: String,
    },
    Replace {
        name: String,
        new: Node,
    },
    SetBacking(Option<Node>),
    ReplaceWith {
        to: Node,
        skipping: Skipping,
    },
    Append {
        top: Node,
    },
    DropFilter,
    DropIntermediate {
        base: Node,
    },
    Reopen(ReopenOptions),
    /// Nothing but what follows every change: limits and permissions.
    Touch,
}

/// What happens to parents that cannot be redirected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Skipping {
    /// They stay (`auto_skip`).
    Allowed,
    /// They are an error.
    Refused,
}

/// How to take one step back.
enum Undo {
    Unlink(EdgeKey),
    Relink(EdgeKey, Node),
    PutBack(EdgeKey),
    SetWritable(NodeKey, bool),
}

/// What has been done so far, and what to refresh and free in the end.
#[derive(Default)]
struct Applied {
    undo: Vec<Undo>,
    /// What has other parents, children or both than before.
    touched: SmallVec<[NodeKey; 8]>,
    /// Those of them whose limits may follow from it: with other children, so
    /// the section has quiesced them. A node that got or lost a parent has the
    /// limits it had, and may have requests in flight.
    reshaped: SmallVec<[NodeKey; 4]>,
    /// The limits that nodes had before.
    limits: Vec<(NodeKey, BlockLimits)>,
    removed: SmallVec<[EdgeKey; 2]>,
    /// Keeps what may have lost its last parent until all is decided.
    kept: SmallVec<[Node; 4]>,
}

impl<'t> Transaction<'t> {
    pub(crate) fn new(
        bql: &'t mut BqlGuard,
        section: &'t mut Section,
        subject: NodeKey,
    ) -> Transaction<'t> {
        Transaction {
            bql,
            section,
            subject,
            changes: SmallVec::new(),
        }
    }

    /// Lets the changes that follow be about another node. `commit` drains
    /// it in the same section.
    ///
    /// # Panics
    /// When the node belongs to another block layer.
    pub fn at(&mut self, node: &Node) -> &mut Self {
        self.subject = node.key(self.bql);
        self
    }

    /// Adds `child` below the node (`bdrv_attach_child`).
    pub fn attach_child(&mut self, name: &str, child: &Node, role: Role) -> &mut Self {
        self.note(Action::Attach {
            name: name.to_owned(),
            child: child.clone(),
            role,
        })
    }

    /// Removes the child called `name` (`bdrv_unref_child`).
    pub fn detach_child(&mut self, name: &str) -> &mut Self {
        self.note(Action::Detach {
            name: name.to_owned(),
        })
    }

    /// Points the edge called `name` to another node
    /// (`bdrv_replace_child_bs`).
    pub fn replace_child(&mut self, name: &str, new: &Node) -> &mut Self {
        self.note(Action::Replace {
            name: name.to_owned(),
            new: new.clone(),
        })
    }

    /// Sets, replaces or removes the backing image (`bdrv_set_backing_hd`).
    pub fn set_backing(&mut self, backing: Option<&Node>) -> &mut Self {
        self.note(Action::SetBacking(backing.cloned()))
    }

    /// Redirects every parent of the node to `to`, except those that stay at
    /// their node and those below `to` (`bdrv_replace_node`).
    pub fn replace_with(&mut self, to: &Node) -> &mut Self {
        self.note(Action::ReplaceWith {
            to: to.clone(),
            skipping: Skipping::Allowed,
        })
    }

    /// As [`replace_with`](Transaction::replace_with), but a parent that would
    /// stay behind is an error (`auto_skip = false`).
    pub fn replace_with_all(&mut self, to: &Node) -> &mut Self {
        self.note(Action::ReplaceWith {
            to: to.clone(),
            skipping: Skipping::Refused,
        })
    }

    /// Puts `top` above the node (`bdrv_append`).
    pub fn append(&mut self, top: &Node) -> &mut Self {
        self.note(Action::Append { top: top.clone() })
    }

    /// Takes the node, a filter, out (`bdrv_drop_filter`).
    pub fn drop_filter(&mut self) -> &mut Self {
        self.note(Action::DropFilter)
    }

    /// Lets every parent of the node go to `base`, further down its chain:
    /// what is in between belongs to the chain no more
    /// (`bdrv_drop_intermediate`, without what it does to headers).
    pub fn drop_intermediate(&mut self, base: &Node) -> &mut Self {
        self.note(Action::DropIntermediate { base: base.clone() })
    }

    /// Opens the node again, with other options (`bdrv_reopen_queue`). Asked
    /// for twice, the later options count.
    ///
    /// What its children are to be is said beside, by the other methods: all
    /// of it is checked against what the nodes will be, so a node that becomes
    /// writable and a child that takes the place of a read-only one go
    /// together.
    ///
    /// Filters above that nobody has put there become writable or read-only
    /// with it, if their drivers can.
    pub fn reopen(&mut self, options: ReopenOptions) -> &mut Self {
        let subject = Node::of(self.bql, self.subject);
        self.changes.retain(|change| !change.is_reopen_of(&subject));
        let followers = reopen::followers(subject.view(self.bql), options.read_only());
        self.note(Action::Reopen(options));
        for (subject, options) in followers {
            if !self
                .changes
                .iter()
                .any(|noted| noted.is_reopen_of(&subject))
            {
                let action = Action::Reopen(options);
                self.changes.push(Change { subject, action });
            }
        }
        self
    }

    /// Finds out the node's limits and permissions, although it has not
    /// changed.
    pub(crate) fn touch(&mut self) -> &mut Self {
        self.note(Action::Touch)
    }

    fn note(&mut self, action: Action) -> &mut Self {
        let subject = Node::of(self.bql, self.subject);
        self.changes.push(Change { subject, action });
        self
    }

    /// Makes the changes, in the order in which they were noted.
    ///
    /// Nodes that are reopened come first: they are flushed, and their drivers
    /// get ready in that order. When everybody has agreed to everything they
    /// commit, the last first; then permissions are granted
    /// (`bdrv_reopen_multiple`).
    ///
    /// # Errors
    /// The first refusal; the graph is then as it was before. By
    /// a link: [`GraphError::FrozenChild`], [`GraphError::FrozenLink`]; by
    /// the shape of the graph: [`GraphError::Cycle`],
    /// [`GraphError::ChildExists`], [`GraphError::NoSuchChild`],
    /// [`GraphError::InvalidRole`], [`GraphError::NoBackingSupport`],
    /// [`GraphError::AlreadyHasBacking`], [`GraphError::NotAFilter`],
    /// [`GraphError::WouldSkipParent`]; by contexts that cannot be merged:
    /// [`GraphError::ContextOfActiveBackend`],
    /// [`GraphError::ContextNotSupported`]; by the permission system:
    /// [`GraphError::PermissionConflict`], [`GraphError::ReadOnly`],
    /// [`GraphError::ReadOnlyWithWriters`]; by drivers that are to be
    /// reopened, [`GraphError::Refused`] or their own.
    pub fn commit(self) -> Result<(), GraphError> {
        let Transaction {
            bql,
            section,
            changes,
            ..
        } = self;
        bql.reap();
        let mut attempt = Attempt {
            bql,
            section,
            applied: Applied::default(),
            moved: Vec::new(),
            ready: Vec::new(),
            agreed: permissions::Agreed::default(),
            reopened: Vec::new(),
            decided: false,
        };
        attempt.prepare(&changes)?;
        attempt.cover(&changes)?;
        attempt.make(&changes)?;
        attempt.finish();
        Ok(())
    }
}

/// Changes being made. Unless finished, dropping it takes them all back, also
/// when a callback of a driver panics; once they are decided, what is left to
/// do is done.
struct Attempt<'t> {
    bql: &'t mut BqlGuard,
    section: &'t mut Section,
    applied: Applied,
    moved: Vec<(Node, AioContext)>,
    /// Nodes to be reopened, in order, that can be.
    ready: Vec<Ready>,
    /// What drivers have agreed to because of them.
    agreed: permissions::Agreed,
    /// Nodes that have been reopened, and what they still have to do.
    reopened: Vec<(Node, AfterReopen)>,
    /// Some node may have been reopened: there is no way back.
    decided: bool,
}

impl Attempt<'_> {
    /// Lets the drivers of nodes that are reopened get ready. They may poll.
    fn prepare(&mut self, changes: &[Change]) -> Result<(), GraphError> {
        let reopened = changes.iter().filter_map(|change| match &change.action {
            Action::Reopen(options) => Some((&change.subject, options)),
            _ => None,
        });
        let reopened: SmallVec<[_; 2]> = reopened.collect();
        if reopened.is_empty() {
            return Ok(());
        }
        let needed = nodes_to_cover(self.bql, changes);
        self.section.cover(self.bql, needed);
        for &(node, _) in &reopened {
            flush(self.bql, node)?;
        }
        for (node, options) in reopened {
            let ready = Ready::prepare(self.bql, node, options)?;
            self.ready.push(ready);
        }
        Ok(())
    }

    /// Quiesces what the changes need quiesced, and brings together what they
    /// connect.
    fn cover(&mut self, changes: &[Change]) -> Result<(), GraphError> {
        // Covering polls, and so does moving. What runs meanwhile may put
        // another node below a filter, so look again.
        loop {
            let needed = nodes_to_cover(self.bql, changes);
            self.section.cover(self.bql, needed);
            merge_contexts(self.bql, changes, &mut self.moved)?;
            let needed = nodes_to_cover(self.bql, changes);
            let covers = |node: &Node| self.section.covers(node.key(self.bql));
            let covered = needed.iter().all(covers);
            if covered && self.section.is_current(self.bql.graph()) {
                return Ok(());
            }
        }
    }

    fn make(&mut self, changes: &[Change]) -> Result<(), GraphError> {
        for change in changes {
            change.apply(self.bql, self.section, &mut self.applied)?;
        }
        let reshaped = self.applied.reshaped.clone();
        limits::refresh(self.bql, self.section, reshaped, &mut self.applied.limits)?;
        buffers::tell_new(self.bql)?;
        let touched = self.applied.touched.clone();
        if self.ready.is_empty() {
            return permissions::refresh(self.bql, touched);
        }
        self.agreed = permissions::check(self.bql, touched)?;
        Ok(())
    }

    fn finish(mut self) {
        self.decided = true;
        self.settle();
        for (node, after) in std::mem::take(&mut self.reopened) {
            let mut section = node.drain(self.bql);
            // Whether it has another length its driver knows. If it cannot
            // tell, what was known is still the best that is known.
            let _ = section.io(async |request: Request<'_>| request.refresh_length().await);
            if let Some(after) = after {
                after(&mut section);
            }
        }
        // What `applied` has kept is let go now; nodes that have lost their
        // last parent are closed when the main loop next runs.
    }

    /// Does what is left to do of changes that are decided. Can be called
    /// again when a driver has panicked.
    fn settle(&mut self) {
        self.applied.undo.clear();
        self.moved.clear();
        while let Some(ready) = self.ready.pop() {
            self.applied.reshaped.push(ready.key(self.bql));
            let reopened = ready.commit(self.bql, self.section);
            self.reopened.push(reopened);
        }
        self.agreed.grant(self.bql);
        for edge in std::mem::take(&mut self.applied.removed) {
            write::free(self.bql, edge);
        }
        self.applied.limits.clear();
        if !self.reopened.is_empty() {
            let reshaped = std::mem::take(&mut self.applied.reshaped);
            // A reopened node that cannot say what it needs keeps what it had.
            let before = &mut Vec::new();
            let _ = limits::refresh(self.bql, self.section, reshaped, before);
        }
    }

    /// Takes back what has been done. Can be called again when a driver has
    /// panicked.
    fn roll_back(&mut self) {
        self.agreed.take_back(self.bql);
        let before = std::mem::take(&mut self.applied.limits);
        limits::put_back(self.bql, self.section, before);
        self.applied.roll_back(self.bql, self.section);
        while let Some(ready) = self.ready.pop() {
            ready.abort(self.bql);
        }
        let moved = std::mem::take(&mut self.moved);
        if !std::thread::panicking() {
            context_change::move_back(self.bql, moved);
        }
    }

    fn end(&mut self) {
        match self.decided {
            true => self.settle(),
            false => self.roll_back(),
        }
        buffers::schedule(self.bql);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        Ending(self).0.end();
    }
}

/// An attempt that ends. A driver that panics meanwhile does not keep the rest
/// from being done.
struct Ending<'e, 't>(&'e mut Attempt<'t>);

impl Drop for Ending<'_, '_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What was written to the node is written out before it is reopened.
fn flush(bql: &mut BqlGuard, node: &Node) -> Result<(), GraphError> {
    if node.view(bql).is_inactive() {
        return Ok(());
    }
    let mut section = node.drain(bql);
    let flushed = section.io(async |request: Request<'_>| request.flush().await);
    flushed.map_err(|error| {
        let text = format!("Error flushing drive: {error}");
        IoError::refused(error.errno(), text).into()
    })
}

impl Change {
    /// The nodes that must be quiesced and idle while the change is made: the
    /// parents of every edge it writes, and whatever takes their place.
    fn nodes_to_cover(&self, bql: &BqlGuard) -> SmallVec<[Node; 3]> {
        let mut nodes = SmallVec::from_iter([self.subject.clone()]);
        match &self.action {
            // A child that starts to track overlaps has nothing in flight.
            Action::Attach { child: new, .. }
            | Action::Replace { new, .. }
            | Action::SetBacking(Some(new)) => {
                if self.subject.io().capabilities().serialises_below {
                    nodes.push(new.clone());
                }
            }
            Action::Detach { .. }
            | Action::Reopen(_)
            | Action::Touch
            | Action::SetBacking(None) => {}
            Action::ReplaceWith { to, .. } => nodes.push(to.clone()),
            Action::Append { top } => nodes.push(top.clone()),
            Action::DropIntermediate { base } => nodes.push(base.clone()),
            Action::DropFilter => {
                let graph = bql.graph();
                let below = graph
                    .filter_edge(self.subject.key(bql))
                    .map(|edge| graph.edges[edge].child);
                if let Some(child) = below {
                    nodes.push(Node::of(bql, child));
                }
            }
        }
        nodes
    }

    fn is_reopen_of(&self, node: &Node) -> bool {
        self.subject == *node && matches!(self.action, Action::Reopen(_))
    }

    /// The node that is to be in the same context as the subject.
    fn joins(&self) -> Option<&Node> {
        match &self.action {
            Action::Attach { child, .. } => Some(child),
            Action::Replace { new, .. } => Some(new),
            Action::SetBacking(backing) => backing.as_ref(),
            Action::ReplaceWith { to, .. } => Some(to),
            Action::Append { top } => Some(top),
            Action::Detach { .. }
            | Action::DropFilter
            | Action::DropIntermediate { .. }
            | Action::Reopen(_)
            | Action::Touch => None,
        }
    }

    fn apply(
        &self,
        bql: &mut BqlGuard,
        section: &Section,
        applied: &mut Applied,
    ) -> Result<(), GraphError> {
        let subject = self.subject.key(bql);
        let mut step = Step {
            bql,
            section,
            applied,
        };
        match &self.action {
            Action::Attach { name, child, role } => {
                let child = child.key(step.bql);
                step.attach(subject, name, child, *role)
            }
            Action::Detach { name } => {
                let edge = step.existing_child(subject, name)?;
                step.detach(edge)
            }
            Action::Replace { name, new } => {
                let edge = step.existing_child(subject, name)?;
                step.check_not_frozen(edge)?;
                step.replace(edge, new.key(step.bql))
            }
            Action::SetBacking(backing) => step.set_backing(subject, backing.as_ref()),
            Action::ReplaceWith { to, skipping } => {
                step.replace_node(subject, to.key(step.bql), *skipping)
            }
            Action::Append { top } => step.append(subject, top.key(step.bql)),
            Action::DropFilter => step.drop_filter(subject),
            Action::DropIntermediate { base } => step.drop_intermediate(&self.subject, base),
            Action::Reopen(options) => {
                step.reopen(subject, options);
                Ok(())
            }
            Action::Touch => {
                step.reshaped(subject);
                Ok(())
            }
        }
    }
}

/// What all of the changes need covered, as the graph is now.
fn nodes_to_cover(bql: &BqlGuard, changes: &[Change]) -> SmallVec<[Node; 4]> {
    let each = changes.iter();
    each.flat_map(|change| change.nodes_to_cover(bql)).collect()
}

/// Puts what will be connected into one context; this may poll, so it comes
/// before the first change.
fn merge_contexts(
    bql: &mut BqlGuard,
    changes: &[Change],
    moved: &mut Vec<(Node, AioContext)>,
) -> Result<(), GraphError> {
    for change in changes {
        if let Some(other) = change.joins() {
            context_change::merge(bql, &change.subject, other, moved)?;
        }
    }
    // One pair may have pulled apart what another had brought together.
    let mut joined = changes
        .iter()
        .filter_map(|change| Some((&change.subject, change.joins()?)));
    let apart = joined.any(|(one, other)| one.io().context() != other.io().context());
    if apart {
        return Err(GraphError::ContextOfActiveBackend);
    }
    Ok(())
}

/// One change being made.
struct Step<'s> {
    bql: &'s mut BqlGuard,
    section: &'s Section,
    applied: &'s mut Applied,
}

impl Step<'_> {
    fn graph(&self) -> &Graph {
        self.bql.graph()
    }

    fn name(&self, key: NodeKey) -> String {
        self.graph().name(key).to_owned()
    }

    /// Notes that a node has other children than before.
    fn reshaped(&mut self, node: NodeKey) {
        self.applied.touched.push(node);
        self.applied.reshaped.push(node);
    }

    fn existing_child(&self, parent: NodeKey, name: &str) -> Result<EdgeKey, GraphError> {
        let edge = self.graph().child_edge(parent, name);
        edge.ok_or_else(|| GraphError::NoSuchChild {
            parent: self.name(parent),
            edge: name.to_owned(),
        })
    }

    fn check_not_frozen(&self, edge: EdgeKey) -> Result<(), GraphError> {
        let state = &self.graph().edges[edge];
        let ParentRef::Node(parent) = state.parent else {
            return Ok(());
        };
        if state.frozen == 0 {
            return Ok(());
        }
        Err(GraphError::FrozenChild {
            edge: state.name.clone(),
            parent: self.name(parent),
            child: self.name(state.child),
        })
    }

    fn check_cycle(
        &mut self,
        parent: NodeKey,
        edge: &str,
        child: NodeKey,
    ) -> Result<(), GraphError> {
        if !self.bql.graph_mut().is_in_subtree(parent, child) {
            return Ok(());
        }
        Err(GraphError::Cycle {
            child: self.name(child),
            edge: edge.to_owned(),
            parent: self.name(parent),
        })
    }

    fn attach(
        &mut self,
        parent: NodeKey,
        name: &str,
        child: NodeKey,
        role: Role,
    ) -> Result<(), GraphError> {
        self.graph().check_not_closing(child)?;
        self.check_inactive_child(parent, name, child)?;
        self.check_role(parent, name, role)?;
        self.check_cycle(parent, name, child)?;
        let edge = write::link(
            self.bql,
            self.section,
            NewEdge {
                parent: NewParent::Node(parent),
                name,
                role,
                child,
                perm: Perm::empty(),
                shared: Perm::all(),
            },
        );
        self.applied.undo.push(Undo::Unlink(edge));
        self.reshaped(parent);
        Ok(())
    }

    fn check_inactive_child(
        &self,
        parent: NodeKey,
        name: &str,
        child: NodeKey,
    ) -> Result<(), GraphError> {
        let graph = self.graph();
        if graph.node(child).inactive && !graph.node(parent).inactive {
            return Err(GraphError::InactiveChild {
                child: self.name(child),
                edge: name.to_owned(),
                parent: self.name(parent),
            });
        }
        Ok(())
    }

    /// The rules for what children a node has (`BdrvChildRole`).
    fn check_role(&self, parent: NodeKey, name: &str, role: Role) -> Result<(), GraphError> {
        let graph = self.graph();
        let node = graph.node(parent);
        if graph.child_edge(parent, name).is_some() {
            return Err(GraphError::ChildExists {
                parent: self.name(parent),
                edge: name.to_owned(),
            });
        }
        let driver = &node.driver;
        if role.contains(Role::COW) && !driver.supports_backing() {
            return Err(GraphError::NoBackingSupport {
                driver: driver.format_name().to_owned(),
                node: self.name(parent),
            });
        }
        let has = |wanted: Role| {
            let mut children = node.children.iter();
            children.any(|&edge| graph.edges[edge].role.contains(wanted))
        };
        let filtered_name = driver.filtered_child_name();
        let reason = if !role.is_valid() {
            "it contradicts itself"
        } else if role.contains(Role::PRIMARY) && has(Role::PRIMARY) {
            "there is a primary child already"
        } else if role.contains(Role::FILTERED) && has(Role::FILTERED) {
            "a filter has one filtered child"
        } else if driver.is_filter()
            && role.contains(Role::PRIMARY)
            && !role.contains(Role::FILTERED)
        {
            "the primary child of a filter is the filtered one"
        } else if role.contains(Role::FILTERED | Role::PRIMARY) && name != filtered_name {
            "the filtered child has another name"
        } else if (name == "backing") != (role == Role::COW || filtered_name == "backing") {
            "the name 'backing' is for backing images"
        } else {
            return Ok(());
        };
        Err(GraphError::InvalidRole {
            parent: self.name(parent),
            role,
            reason,
        })
    }

    fn detach(&mut self, edge: EdgeKey) -> Result<(), GraphError> {
        self.check_not_frozen(edge)?;
        let child = self.graph().edges[edge].child;
        let kept = Node::of(self.bql, child);
        write::unlink(self.bql, self.section, edge);
        self.applied.kept.push(kept);
        self.applied.undo.push(Undo::PutBack(edge));
        self.applied.removed.push(edge);
        self.applied.touched.push(child);
        if let ParentRef::Node(parent) = self.graph().edges[edge].parent {
            self.reshaped(parent);
        }
        Ok(())
    }

    fn replace(&mut self, edge: EdgeKey, new: NodeKey) -> Result<(), GraphError> {
        let state = &self.graph().edges[edge];
        let (old, name, parent) = (state.child, state.name.clone(), state.parent);
        let perm = state.perm;
        if old == new {
            return Ok(());
        }
        self.graph().check_not_closing(new)?;
        if let ParentRef::Node(parent) = parent {
            self.check_inactive_child(parent, &name, new)?;
            self.check_cycle(parent, &name, new)?;
            self.reshaped(parent);
        } else {
            permissions::check_inactive(self.graph(), new, perm)?;
        }
        let kept = Node::of(self.bql, old);
        write::relink(self.bql, self.section, edge, new);
        self.applied.undo.push(Undo::Relink(edge, kept.clone()));
        self.applied.kept.push(kept);
        self.applied.touched.extend([old, new]);
        Ok(())
    }

    fn set_backing(&mut self, node: NodeKey, backing: Option<&Node>) -> Result<(), GraphError> {
        let old = self.graph().cow_edge(node);
        if let Some(edge) = old {
            self.check_not_frozen(edge)?;
        }
        let driver = &self.graph().node(node).driver;
        if backing.is_some() && !driver.supports_backing() {
            return Err(GraphError::NoBackingSupport {
                driver: driver.format_name().to_owned(),
                node: self.name(node),
            });
        }
        match (old, backing) {
            (None, None) => Ok(()),
            (Some(edge), None) => self.detach(edge),
            (Some(edge), Some(new)) => self.replace(edge, new.key(self.bql)),
            (None, Some(new)) => self.attach(node, "backing", new.key(self.bql), Role::COW),
        }
    }

    fn replace_node(
        &mut self,
        from: NodeKey,
        to: NodeKey,
        skipping: Skipping,
    ) -> Result<(), GraphError> {
        for edge in self.graph().node(from).parents.clone() {
            if !self.is_redirected(edge, to) {
                if skipping == Skipping::Refused {
                    return Err(GraphError::WouldSkipParent {
                        edge: self.graph().edges[edge].name.clone(),
                        child: self.name(from),
                    });
                }
                continue;
            }
            let state = &self.graph().edges[edge];
            if state.frozen > 0 {
                return Err(GraphError::FrozenParent {
                    edge: state.name.clone(),
                    child: self.name(from),
                });
            }
            self.replace(edge, to)?;
        }
        Ok(())
    }

    /// Whether an edge moves when its node is replaced by `to`. Not the edges
    /// of `to` itself, nor of anything below it: that would be a cycle.
    fn is_redirected(&mut self, edge: EdgeKey, to: NodeKey) -> bool {
        let graph = self.bql.graph_mut();
        match graph.edges[edge].parent {
            ParentRef::Node(parent) => !graph.is_in_subtree(parent, to),
            ParentRef::Backend(_) => true,
            ParentRef::Other(parent) => !graph.others[parent].class.stays_at_node(),
        }
    }

    fn append(&mut self, below: NodeKey, top: NodeKey) -> Result<(), GraphError> {
        if self.graph().chain_edge(top).is_some() {
            return Err(GraphError::AlreadyHasBacking(self.name(top)));
        }
        let driver = &self.graph().node(top).driver;
        let (name, role) = match driver.is_filter() {
            true => (driver.filtered_child_name(), Role::FILTERED | Role::PRIMARY),
            false => ("backing", Role::COW),
        };
        self.attach(top, name, below, role)?;
        self.replace_node(below, top, Skipping::Allowed)
    }

    fn drop_intermediate(&mut self, top: &Node, base: &Node) -> Result<(), GraphError> {
        top.view(self.bql).check_chain_contains(base)?;
        let (from, to) = (top.key(self.bql), base.key(self.bql));
        if from == to {
            return Ok(());
        }
        self.replace_node(from, to, Skipping::Refused)
    }

    /// What the graph knows of it; the rest is for the driver.
    fn reopen(&mut self, node: NodeKey, options: &ReopenOptions) {
        let writable = !options.read_only();
        let state = &mut self.bql.graph_mut().nodes[node];
        let before = std::mem::replace(&mut state.writable, writable);
        self.applied.undo.push(Undo::SetWritable(node, before));
        self.applied.touched.push(node);
    }

    fn drop_filter(&mut self, filter: NodeKey) -> Result<(), GraphError> {
        let edge = self.graph().filter_edge(filter);
        let edge = edge.ok_or_else(|| GraphError::NotAFilter(self.name(filter)))?;
        let below = self.graph().edges[edge].child;
        self.replace_node(filter, below, Skipping::Allowed)?;
        self.detach(edge)
    }
}

impl Applied {
    fn roll_back(&mut self, bql: &mut BqlGuard, section: &Section) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Unlink(edge) => {
                    write::unlink(bql, section, edge);
                    write::free(bql, edge);
                }
                Undo::Relink(edge, old) => {
                    let old = old.key(bql);
                    write::relink(bql, section, edge, old);
                }
                Undo::PutBack(edge) => write::relink_removed(bql, section, edge),
                Undo::SetWritable(node, writable) => {
                    bql.graph_mut().nodes[node].writable = writable;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One word for the proof, beside what is planned for whom.
    static_assertions::const_assert_eq!(
        size_of::<Transaction<'static>>(),
        size_of::<(&mut Section, NodeKey, SmallVec<[Change; 2]>)>() + size_of::<&mut BqlGuard>()
    );
}
