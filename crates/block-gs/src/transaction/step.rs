//! The steps that changes of the graph consist of, each with what it checks and
//! with the way back.

use block_common::{BlockLimits, GraphError, Perm, Role};
use smallvec::SmallVec;

use super::Skipping;
use crate::graph::section::Section;
use crate::graph::write::{self, NewEdge, NewParent};
use crate::graph::{EdgeKey, Graph, NodeKey, ParentRef};
use crate::reopen::ReopenOptions;
use crate::{BqlGuard, Node, permissions};

/// How to take one step back.
enum Undo {
    Unlink(EdgeKey),
    Relink(EdgeKey, Node),
    PutBack(EdgeKey),
    SetWritable(NodeKey, bool),
}

/// What has been done so far, and what to refresh and free in the end.
#[derive(Default)]
pub(super) struct Applied {
    undo: Vec<Undo>,
    /// What has other parents, children or both than before.
    pub touched: SmallVec<[NodeKey; 8]>,
    /// Those of them whose limits may follow from it: with other children, so
    /// the section has quiesced them. A node that got or lost a parent has the
    /// limits it had, and may have requests in flight.
    pub reshaped: SmallVec<[NodeKey; 4]>,
    /// The limits that nodes had before.
    pub limits: Vec<(NodeKey, BlockLimits)>,
    pub removed: SmallVec<[EdgeKey; 2]>,
    /// Keeps what may have lost its last parent until all is decided.
    kept: SmallVec<[Node; 4]>,
}

/// One change being made.
pub(super) struct Step<'s> {
    pub bql: &'s mut BqlGuard,
    pub section: &'s Section,
    pub applied: &'s mut Applied,
}

impl Step<'_> {
    fn graph(&self) -> &Graph {
        self.bql.graph()
    }

    fn name(&self, key: NodeKey) -> String {
        self.graph().name(key).to_owned()
    }

    /// Notes that a node has other children than before.
    pub fn reshaped(&mut self, node: NodeKey) {
        self.applied.touched.push(node);
        self.applied.reshaped.push(node);
    }

    pub fn existing_child(&self, parent: NodeKey, name: &str) -> Result<EdgeKey, GraphError> {
        let edge = self.graph().child_edge(parent, name);
        edge.ok_or_else(|| GraphError::NoSuchChild {
            parent: self.name(parent),
            edge: name.to_owned(),
        })
    }

    pub fn expect(
        &self,
        parent: NodeKey,
        name: &str,
        child: Option<&Node>,
    ) -> Result<(), GraphError> {
        let edge = self.graph().child_edge(parent, name);
        let found = edge.map(|edge| self.graph().edges[edge].child);
        if found == child.map(|child| child.key(self.bql)) {
            return Ok(());
        }
        Err(GraphError::ChildChanged {
            parent: self.name(parent),
            edge: name.to_owned(),
        })
    }

    pub fn check_not_frozen(&self, edge: EdgeKey) -> Result<(), GraphError> {
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

    pub fn attach(
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

    pub fn detach(&mut self, edge: EdgeKey) -> Result<(), GraphError> {
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

    pub fn replace(&mut self, edge: EdgeKey, new: NodeKey) -> Result<(), GraphError> {
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

    pub fn set_backing(&mut self, node: NodeKey, backing: Option<&Node>) -> Result<(), GraphError> {
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

    pub fn replace_node(
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

    pub fn append(&mut self, below: NodeKey, top: NodeKey) -> Result<(), GraphError> {
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

    pub fn drop_intermediate(&mut self, top: &Node, base: &Node) -> Result<(), GraphError> {
        top.view(self.bql).check_chain_contains(base)?;
        let (from, to) = (top.key(self.bql), base.key(self.bql));
        if from == to {
            return Ok(());
        }
        self.replace_node(from, to, Skipping::Refused)
    }

    /// What the graph knows of it; the rest is for the driver.
    pub fn reopen(&mut self, node: NodeKey, options: &ReopenOptions) {
        let writable = !options.read_only();
        let state = &mut self.bql.graph_mut().nodes[node];
        let before = std::mem::replace(&mut state.writable, writable);
        self.applied.undo.push(Undo::SetWritable(node, before));
        self.applied.touched.push(node);
    }

    pub fn drop_filter(&mut self, filter: NodeKey) -> Result<(), GraphError> {
        let edge = self.graph().filter_edge(filter);
        let edge = edge.ok_or_else(|| GraphError::NotAFilter(self.name(filter)))?;
        let below = self.graph().edges[edge].child;
        self.replace_node(filter, below, Skipping::Allowed)?;
        self.detach(edge)
    }
}

impl Applied {
    /// It stays so: there is no way back any more.
    pub fn decide(&mut self) {
        self.undo.clear();
    }

    pub fn roll_back(&mut self, bql: &mut BqlGuard, section: &Section) {
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
