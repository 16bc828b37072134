//! Changes of the graph, all or nothing.
//!
//! | module | what |
//! |---|---|
//! | this one | what is planned, and for which nodes |
//! | `attempt` | carrying it out: what may wait, what may not, the way back |
//! | `step` | the steps that changes consist of, and what they check |

mod attempt;
mod step;

use std::fmt;

use block_common::{GraphError, Role};
use smallvec::SmallVec;

use self::attempt::Attempt;
use self::step::{Applied, Step};
use crate::graph::NodeKey;
use crate::graph::section::Section;
use crate::reopen::{self, ReopenOptions};
use crate::{BqlGuard, Node};

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
    /// Nothing; but the others only if this is so.
    Expect {
        name: String,
        child: Option<Node>,
    },
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

    /// Lets everything depend on what the node's edge called `name` leads to:
    /// `child`, or with `None` nowhere. If that is not so when the changes are
    /// made, none is.
    ///
    /// [`commit`](Transaction::commit) may poll before it makes the first
    /// change, and what runs then may change what the caller has looked at. Who
    /// has planned for what was there says so with this. Of changes noted before
    /// this one it sees the outcome.
    pub fn expect_child(&mut self, name: &str, child: Option<&Node>) -> &mut Self {
        self.note(Action::Expect {
            name: name.to_owned(),
            child: child.cloned(),
        })
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
    /// The first refusal; the graph is then as it was before, or as what ran
    /// meanwhile has made it. By what was
    /// [expected](Transaction::expect_child): [`GraphError::ChildChanged`]; by
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
        Attempt::new(bql, section).carry_out(&changes)
    }
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
            Action::Expect { .. }
            | Action::Detach { .. }
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
            Action::Expect { .. }
            | Action::Detach { .. }
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
            Action::Expect { name, child } => step.expect(subject, name, child.as_ref()),
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

#[cfg(test)]
mod tests {
    use super::*;

    // One word for the proof, beside what is planned for whom.
    static_assertions::const_assert_eq!(
        size_of::<Transaction<'static>>(),
        size_of::<(&mut Section, NodeKey, SmallVec<[Change; 2]>)>() + size_of::<&mut BqlGuard>()
    );
}
