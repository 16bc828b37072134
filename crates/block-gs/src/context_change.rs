//! Moving nodes, and everything connected to them, to another AioContext.
//!
//! The two ends of an edge are in one context, so a move takes the whole
//! connected part of the graph along. Every parent is asked before anything
//! moves; one that cannot follow refuses for all.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use block_common::GraphError;
use block_io::aio::AioContext;
use block_io::engine::NoFaults;
use block_io::engine::moving::move_home;
use block_io::{IoNode, Root};

use crate::driver::BlockDriver;
use crate::graph::section::Scope;
use crate::graph::{BackendKey, Graph, NodeKey, ParentKey, ParentRef};
use crate::parent::EdgeParent;
use crate::{BqlGuard, IoThread, Node, context_notifier};

/// What is connected to a node.
#[derive(Default, PartialEq)]
struct Component {
    nodes: Vec<NodeKey>,
    backends: Vec<BackendKey>,
    others: Vec<ParentKey>,
}

impl Node {
    /// Moves this node and everything connected to it to the context of an
    /// iothread, or with `None` to the main loop
    /// (`bdrv_try_change_aio_context`, `x-blockdev-set-iothread`). All of it
    /// is drained meanwhile; no request is lost, and tasks of the backends
    /// resume in the new context.
    ///
    /// # Errors
    /// [`GraphError::ContextOfActiveBackend`] when a backend above does not
    /// [allow](crate::Backend::set_allow_context_change) it, or what another
    /// parent answers. Nothing has moved then.
    pub fn set_iothread(
        &self,
        bql: &mut BqlGuard,
        iothread: Option<&IoThread>,
    ) -> Result<(), GraphError> {
        let context = match iothread {
            Some(iothread) => iothread.context().clone(),
            None => bql.context().clone(),
        };
        change(bql, self, &context, None)
    }
}

/// Moves the component of `start` to `context`. `initiator` is the backend
/// that asks for it, and therefore allows it.
pub(crate) fn change(
    bql: &mut BqlGuard,
    start: &Node,
    context: &AioContext,
    initiator: Option<BackendKey>,
) -> Result<(), GraphError> {
    if start.io().context() == *context {
        return Ok(());
    }
    let key = start.key(bql);
    loop {
        let component = component(bql, key);
        check_parents(bql, &component, context, initiator)?;
        let nodes: Vec<Node> = component
            .nodes
            .iter()
            .map(|&key| Node::of(bql, key))
            .collect();
        let scope = Scope::open(bql, nodes);
        // Waiting may have let others change the graph.
        if component_is(scope.bql, key, &component) {
            let steps = Steps::of(scope.bql.graph(), &component, context);
            let left = steps.left.clone();
            // A panic of a callback goes on when nothing is half moved.
            let mut moved = Ok(());
            move_home::<NoFaults, _>(
                &mut *scope.bql,
                |bql| moved = catch_unwind(AssertUnwindSafe(|| steps.take(bql, context))),
                |bql| left.iter().for_each(|old| turn(bql, old)),
            );
            return moved.map_err(|panic| resume_unwind(panic));
        }
    }
}

fn component_is(bql: &mut BqlGuard, key: NodeKey, known: &Component) -> bool {
    component(bql, key) == *known
}

fn component(bql: &mut BqlGuard, start: NodeKey) -> Component {
    let graph = bql.graph_mut();
    let mark = graph.next_walk();
    let mut component = Component::default();
    let mut stack = vec![start];
    while let Some(key) = stack.pop() {
        let node = &mut graph.nodes[key];
        if std::mem::replace(&mut node.walk, mark) == mark {
            continue;
        }
        component.nodes.push(key);
        stack.extend(node.children.iter().map(|&edge| graph.edges[edge].child));
        for &edge in &node.parents {
            match graph.edges[edge].parent {
                ParentRef::Node(parent) => stack.push(parent),
                ParentRef::Backend(parent) => component.backends.push(parent),
                // A job has several edges, often into the same component.
                ParentRef::Other(parent) => {
                    if !component.others.contains(&parent) {
                        component.others.push(parent);
                        let edges = graph.others[parent].edges.iter();
                        stack.extend(edges.map(|&edge| graph.edges[edge].child));
                    }
                }
            }
        }
    }
    component
}

fn check_parents(
    bql: &BqlGuard,
    component: &Component,
    context: &AioContext,
    initiator: Option<BackendKey>,
) -> Result<(), GraphError> {
    let graph = bql.graph();
    for &key in &component.backends {
        if !graph.backends[key].allow_context_change && initiator != Some(key) {
            return Err(GraphError::ContextOfActiveBackend);
        }
    }
    for &key in &component.others {
        graph.others[key].class.may_change_context(bql, context)?;
    }
    Ok(())
}

/// A move, step by step.
struct Steps {
    steps: Vec<Step>,
    /// The contexts that something leaves.
    left: Vec<AioContext>,
}

impl Steps {
    fn of(graph: &Graph, component: &Component, context: &AioContext) -> Steps {
        let (mut steps, mut left) = (Vec::new(), Vec::new());
        let mut leaves = |old: AioContext| {
            if old != *context && !left.contains(&old) {
                left.push(old);
            }
        };
        for &key in &component.nodes {
            let node = graph.node(key);
            let old = node.io.context();
            steps.push(Step::SayLeft(key, old.clone()));
            leaves(old);
            steps.push(Step::Leave(Arc::clone(&node.driver), Arc::clone(&node.io)));
            steps.push(Step::Move(Arc::clone(&node.io)));
            steps.push(Step::Arrive(Arc::clone(&node.driver), Arc::clone(&node.io)));
            steps.push(Step::SayArrived(key));
        }
        for &key in &component.backends {
            let root = &graph.backends[key].root;
            leaves(root.context());
            steps.push(Step::MoveRoot(root.clone()));
        }
        for &key in &component.others {
            steps.push(Step::Tell(Arc::clone(&graph.others[key].class)));
        }
        Steps { steps, left }
    }

    fn take(self, bql: &BqlGuard, context: &AioContext) {
        let steps = self.steps.into_iter();
        Moving {
            bql,
            context,
            steps,
        }
        .run();
    }
}

/// One step of a move.
enum Step {
    SayLeft(NodeKey, AioContext),
    Leave(Arc<dyn BlockDriver>, Arc<IoNode>),
    Move(Arc<IoNode>),
    Arrive(Arc<dyn BlockDriver>, Arc<IoNode>),
    SayArrived(NodeKey),
    MoveRoot(Root),
    Tell(Arc<dyn EdgeParent>),
}

/// The steps not yet taken. A callback that panics does not keep the others
/// from moving: the two ends of an edge would no longer be in one context.
struct Moving<'b> {
    bql: &'b BqlGuard,
    context: &'b AioContext,
    steps: std::vec::IntoIter<Step>,
}

impl Moving<'_> {
    fn run(&mut self) {
        let (bql, context) = (self.bql, self.context);
        for step in self.steps.by_ref() {
            match step {
                Step::SayLeft(node, old) => context_notifier::detached(bql, node, &old),
                Step::Leave(driver, io) => driver.detach_context(bql, &io),
                Step::Move(io) => io.set_context(bql.access(), context.clone()),
                Step::Arrive(driver, io) => driver.attach_context(bql, &io, context),
                Step::SayArrived(node) => context_notifier::attached(bql, node, context),
                Step::MoveRoot(root) => root.set_context(bql.access(), context.clone()),
                Step::Tell(parent) => parent.context_changed(bql, context),
            }
        }
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.run();
    }
}

/// Waits until the loop of `old` has turned once; see [`move_home`].
pub(crate) fn turn(bql: &mut BqlGuard, old: &AioContext) {
    if old == bql.context() {
        // Its turns are ours: no task is in the middle of one.
        return;
    }
    bql.block_on(old.turned());
}

/// Lets a node that has lost a parent go back to the main loop: without the
/// parent it may have no reason to be elsewhere. Parents that are left, and need
/// it where it is, refuse, and then it stays. Polls.
pub(crate) fn go_back(bql: &mut BqlGuard, node: &Node) {
    let main = bql.context().clone();
    let _ = change(bql, node, &main, None);
}

/// Brings two nodes that will be connected into one context: the child to the
/// parent, or else the parent to the child. Notes what it has moved.
///
/// # Errors
/// Why the child could not be moved.
pub(crate) fn merge(
    bql: &mut BqlGuard,
    parent: &Node,
    child: &Node,
    moved: &mut Vec<(Node, AioContext)>,
) -> Result<(), GraphError> {
    let (above, below) = (parent.io().context(), child.io().context());
    if above == below {
        return Ok(());
    }
    let Err(first) = change(bql, child, &above, None) else {
        moved.push((child.clone(), below));
        return Ok(());
    };
    if change(bql, parent, &below, None).is_err() {
        return Err(first);
    }
    moved.push((parent.clone(), above));
    Ok(())
}

/// As [`merge`], for a parent of another kind: the child to the parent, or
/// else the parent with the nodes that it has to the child.
///
/// # Errors
/// Why the child could not be moved.
pub(crate) fn merge_parent(
    bql: &mut BqlGuard,
    parent: ParentKey,
    child: &Node,
    moved: &mut Vec<(Node, AioContext)>,
) -> Result<(), GraphError> {
    let graph = bql.graph();
    let first = graph.others[parent].edges.first();
    let held = first.map(|&edge| Node::of(bql, graph.edges[edge].child));
    if let Some(held) = held {
        return merge(bql, &held, child, moved);
    }
    let below = child.io().context();
    let above = graph.others[parent].class.context();
    let Some(above) = above.filter(|above| *above != below) else {
        return Ok(());
    };
    // Nothing of the graph would stop a parent without nodes, so only the
    // child can move.
    change(bql, child, &above, None)?;
    moved.push((child.clone(), below));
    Ok(())
}

/// Undoes [`merge`] and [`merge_parent`], newest first. What cannot go back stays: both places are
/// valid.
pub(crate) fn move_back(bql: &mut BqlGuard, moved: Vec<(Node, AioContext)>) {
    for (node, context) in moved.into_iter().rev() {
        let _ = change(bql, &node, &context, None);
    }
}
