//! A graph of a few nodes, for the ledger and the cells that ship.
//!
//! **Fenced module.** Nodes, roots, edges and cells are `block_io`'s own, and
//! requests follow them as everywhere. What counts the sections, and in which
//! order edges are written, is `engine::ledger`, as in `block_gs::graph`. Of
//! `block_gs` itself nothing is here: the arenas, permissions and the rest
//! stay on one thread, and its tests cover them.
//!
//! Whoever writes does so in a section over the parent or the old child, as
//! `block_gs::graph::write` checks. A mutant breaks that; loom then panics at
//! the access, before the pointer is followed.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::thread;

use block_io::aio::EventLoop;
use block_io::engine::ledger::{self, Above, AboveOf, Due, Dues, Ledger};
use block_io::engine::{Faults, Pause};
use block_io::{
    Children, Destination, DriverIo, GraphCell, GsAccess, IoEdge, IoFuture, IoNode, NodeFlags,
    NodeIdentity, Perm, Request, Root,
};

use crate::block_on;
use crate::executor::Sleeping;

/// What a mutant that counts wrong is reported with.
const MISCOUNTED: &str = "the counters are not what is open";

struct Node {
    io: Arc<IoNode>,
    reasons: u32,
    /// Sections over this node alone, and over everything.
    sections: u32,
}

struct Edge {
    parent: Above<usize, usize, usize>,
    child: Option<usize>,
    quiesced_parent: bool,
    io: Arc<IoEdge>,
}

/// What requests on other threads use of a [`Graph`].
#[derive(Clone)]
pub struct Shared {
    is_covered: Arc<[AtomicBool; 4]>,
    value: Arc<GraphCell<u32>>,
}

impl Shared {
    /// One request, from beginning to end. Says whether there was a node.
    ///
    /// # Panics
    /// When it gets to a node that a section covers.
    pub fn request(&self, root: &Root) -> bool {
        // Its destructor uses loom, so it must not run when this panics.
        let in_flight = ManuallyDrop::new(block_on(root.begin()));
        let found = in_flight
            .request()
            .is_ok_and(|request| self.follow(request));
        drop(ManuallyDrop::into_inner(in_flight));
        found
    }

    /// As [`request`](Shared::request), unless the root is closed.
    pub fn try_request(&self, root: &Root) -> bool {
        let Some(in_flight) = root.try_begin() else {
            return false;
        };
        let in_flight = ManuallyDrop::new(in_flight);
        let found = in_flight
            .request()
            .is_ok_and(|request| self.follow(request));
        drop(ManuallyDrop::into_inner(in_flight));
        found
    }

    fn follow(&self, request: Request<'_>) -> bool {
        self.visit(request);
        if let Ok(below) = request.file() {
            self.visit(below);
        }
        true
    }

    fn visit(&self, request: Request<'_>) {
        let node: usize = request.node().name().parse().expect("a number");
        let covered = self.is_covered[node].load(Ordering::Relaxed);
        assert!(!covered, "a request ran inside a section over its node");
        if request.node().uid() == self.value.owner() {
            let _ = *self.value.get(request);
        }
    }
}

/// The graph, on the thread that may change it.
pub struct Graph<F: Faults> {
    gs: GsAccess,
    /// Only for its context. Its destructor uses loom.
    event_loop: ManuallyDrop<EventLoop>,
    main: Arc<Sleeping>,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    roots: Vec<Root>,
    others: Vec<Arc<Pause<F>>>,
    over_all: u32,
    shared: Shared,
}

impl<F: Faults> Drop for Graph<F> {
    fn drop(&mut self) {
        if !thread::panicking() {
            // SAFETY: dropped here only, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.event_loop) };
        }
    }
}

struct Driver;

impl DriverIo for Driver {
    fn read<'r>(&'r self, _: Request<'r>, _: u64, mut into: Destination<'r>) -> IoFuture<'r> {
        into.fill(0);
        IoFuture::done()
    }

    fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(0))
    }
}

impl<F: Faults> Graph<F> {
    /// A graph of one node, the node 0. A cell belongs to it.
    pub fn of_one_node() -> Self {
        let event_loop = EventLoop::new("model").expect("an event loop");
        let identity = NodeIdentity::fresh();
        let shared = Shared {
            is_covered: Arc::default(),
            value: Arc::new(GraphCell::new(identity.uid(), 0)),
        };
        let mut graph = Graph {
            // SAFETY: a model has one thread that changes its graph, this one.
            gs: unsafe { GsAccess::new() },
            event_loop: ManuallyDrop::new(event_loop),
            main: Arc::default(),
            nodes: Vec::new(),
            edges: Vec::new(),
            roots: Vec::new(),
            others: Vec::new(),
            over_all: 0,
            shared,
        };
        graph.insert(identity);
        graph
    }

    /// What requests need.
    pub fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// Another node.
    pub fn add_node(&mut self) -> usize {
        self.insert(NodeIdentity::fresh())
    }

    fn insert(&mut self, identity: NodeIdentity) -> usize {
        let key = self.nodes.len();
        let context = self.event_loop.context().clone();
        let driver = Arc::new(Driver);
        let flags = NodeFlags::empty();
        self.nodes.push(Node {
            io: IoNode::new(identity, &key.to_string(), driver, context, flags),
            reasons: 0,
            sections: self.over_all,
        });
        let dues = ledger::be_born::<F, _>(self, key);
        self.carry_out(dues);
        self.mark_covered();
        key
    }

    /// A root without a node.
    pub fn add_root(&mut self) -> (usize, Root) {
        let root = Root::new("root", self.event_loop.context().clone());
        self.roots.push(root.clone());
        (self.roots.len() - 1, root)
    }

    /// A parent like a job.
    pub fn add_job(&mut self) -> (usize, Arc<Pause<F>>) {
        let job = Arc::new(Pause::new());
        self.others.push(Arc::clone(&job));
        (self.others.len() - 1, job)
    }

    fn insert_edge(&mut self, name: &str, parent: AboveOf<Self>, child: usize) -> usize {
        self.edges.push(Edge {
            parent,
            child: Some(child),
            quiesced_parent: false,
            io: IoEdge::new(name, Arc::clone(&self.nodes[child].io), Perm::empty()),
        });
        self.edges.len() - 1
    }

    /// Puts a node below a root (`write::link`): closes the root, waits, and
    /// hands the reason over.
    pub fn link_root(&mut self, root: usize, child: usize) -> usize {
        self.roots[root].close(&self.gs);
        self.wait_for(|graph, cx| graph.roots[root].poll_idle(cx).is_pending());
        let quiesced = self.nodes[child].reasons > 0;
        let edge = self.insert_edge("root", Above::Root(root), child);
        self.hand_over(edge, quiesced);
        self.show(edge, quiesced);
        edge
    }

    /// Puts a node below one that a section covers (`write::link`).
    pub fn link(&mut self, parent: usize, child: usize) -> usize {
        let quiesced = self.nodes[child].reasons > 0;
        let edge = self.insert_edge("file", Above::Node(parent), child);
        self.hand_over(edge, quiesced);
        self.show(edge, quiesced);
        edge
    }

    /// Puts a node below a job (`Parent::attach`).
    pub fn link_job(&mut self, job: usize, child: usize) -> usize {
        let quiesced = self.nodes[child].reasons > 0;
        let edge = self.insert_edge("job", Above::Other(job), child);
        self.hand_over(edge, quiesced);
        edge
    }

    /// Points an edge to another node (`write::relink`).
    pub fn relink(&mut self, edge: usize, child: usize) {
        self.edges[edge].child = Some(child);
        let io = Arc::clone(&self.nodes[child].io);
        self.edges[edge].io = IoEdge::new("file", io, Perm::empty());
        let quiesced = self.nodes[child].reasons > 0;
        let show = |graph: &mut Self| graph.show(edge, quiesced);
        ledger::move_edge::<F, _>(self, show, |graph| graph.hand_over(edge, quiesced));
    }

    /// Takes an edge out of the graph (`write::unlink`).
    pub fn unlink(&mut self, edge: usize) {
        self.edges[edge].child = None;
        let show = |graph: &mut Self| graph.show(edge, false);
        ledger::move_edge::<F, _>(self, show, |graph| graph.hand_over(edge, false));
    }

    fn hand_over(&mut self, edge: usize, quiesced: bool) {
        let dues = ledger::hand_over::<F, _>(self, edge, quiesced);
        self.carry_out(dues);
    }

    /// Shows requests what is below the parent of an edge (`write::publish`).
    fn show(&mut self, edge: usize, quiesced: bool) {
        let Edge { parent, child, .. } = self.edges[edge];
        match parent {
            Above::Node(parent) => {
                let below = self
                    .edges
                    .iter()
                    .filter(|edge| edge.parent == Above::Node(parent) && edge.child.is_some());
                let children = Children::new(below.map(|edge| Arc::clone(&edge.io)));
                let io = &self.nodes[parent].io;
                // SAFETY: a section covers the parent or the old child, unless
                // a mutant runs, and then loom panics in this call.
                drop(unsafe { io.replace_children_in_drained_section(children) });
            }
            Above::Root(root) => {
                let io = child.map(|_| Arc::clone(&self.edges[edge].io));
                // SAFETY: as above; `link_root` has closed the root itself.
                drop(unsafe { self.roots[root].replace_edge(io, quiesced) });
            }
            Above::Other(_) => {}
        }
    }

    /// Replaces the value of the cell (`Drained::set`). The node 0 is covered.
    pub fn set(&mut self, value: u32) {
        // SAFETY: a section covers node 0, unless a mutant runs, and then loom
        // panics in this call.
        unsafe { self.shared.value.replace_in_drained_section(value) };
    }

    /// Opens a section over a node and waits (`Section::cover`).
    pub fn begin(&mut self, node: usize) {
        self.nodes[node].sections += 1;
        let dues = ledger::add_reason::<F, _>(self, node);
        self.carry_out(dues);
        self.wait_for(|graph, cx| graph.is_busy(node, cx));
        self.mark_covered();
    }

    /// Ends a section over a node (`Section::close`).
    pub fn end(&mut self, node: usize) {
        self.nodes[node].sections -= 1;
        let dues = ledger::take_reason::<F, _>(self, node);
        self.carry_out(dues);
    }

    /// Opens a section over everything and waits (`drain_all`).
    pub fn begin_all(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.sections += 1);
        let dues = ledger::begin_all::<F, _>(self);
        self.carry_out(dues);
        for node in 0..self.nodes.len() {
            self.wait_for(|graph, cx| graph.is_busy(node, cx));
        }
        self.mark_covered();
    }

    /// Ends a section over everything (`end_all`).
    pub fn end_all(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.sections -= 1);
        let dues = ledger::end_all::<F, _>(self);
        self.carry_out(dues);
    }

    /// As `block_gs::graph::quiesce::wait_until_idle`, with a signal in the
    /// place of the main loop.
    fn wait_for(&mut self, mut is_busy: impl FnMut(&Self, &mut Context<'_>) -> bool) {
        let waker = Waker::from(Arc::clone(&self.main));
        let cx = &mut Context::from_waker(&waker);
        let is_busy = |graph: &mut Self| is_busy(graph, cx);
        ledger::wait_while::<F, _>(self, is_busy, |graph| graph.main.sleep());
    }

    /// Whether anything is in flight above a node. All are asked.
    fn is_busy(&self, node: usize, cx: &mut Context<'_>) -> bool {
        let mut busy = self.nodes[node].io.poll_idle(cx).is_pending();
        for edge in self.edges.iter().filter(|edge| edge.child == Some(node)) {
            busy |= match edge.parent {
                Above::Node(parent) => self.is_busy(parent, cx),
                Above::Root(root) => self.roots[root].poll_idle(cx).is_pending(),
                Above::Other(job) => self.others[job].poll_paused(cx).is_pending(),
            };
        }
        busy
    }

    /// Moves gates and tells parents, as `Effects::run` does.
    fn carry_out(&mut self, dues: Dues<Self>) {
        // What is let go may be used from here on; what is covered anew is
        // marked after waiting for it.
        for (node, covered) in self.shared.is_covered.iter().enumerate() {
            covered.fetch_and(self.is_covered(node), Ordering::Relaxed);
        }
        for due in dues {
            match due {
                Due::CloseNode(node) => self.nodes[node].io.close(&self.gs),
                Due::OpenNode(node) => self.nodes[node].io.open(&self.gs),
                Due::CloseRoot(root) => self.roots[root].close(&self.gs),
                Due::OpenRoot(root) => self.roots[root].open(&self.gs),
                Due::ParentBegin(job) => self.others[job].pause(),
                Due::ParentEnd(job) => self.others[job].resume(),
                Due::DriverBegin(_) | Due::DriverEnd(_) => {}
            }
        }
    }

    /// No request may be at a node that is covered now.
    fn mark_covered(&self) {
        for (node, covered) in self.shared.is_covered.iter().enumerate() {
            covered.store(self.is_covered(node), Ordering::Relaxed);
        }
    }

    /// Whether a section is open over the node, or over one below. Asked of
    /// the sections, whatever the ledger says.
    fn is_covered(&self, node: usize) -> bool {
        let below = |edge: &Edge| {
            let child = edge.child.filter(|_| edge.parent == Above::Node(node));
            child.is_some_and(|child| self.is_covered(child))
        };
        let state = self.nodes.get(node);
        state.is_some_and(|state| state.sections > 0) || self.edges.iter().any(below)
    }

    /// The counters are the sections that are open, and the edges that are
    /// quiesced; and the gates of roots have as many reasons.
    ///
    /// # Panics
    /// When they are not.
    pub fn check(&self) {
        for edge in &self.edges {
            let is_quiesced = edge
                .child
                .is_some_and(|child| self.nodes[child].reasons > 0);
            assert_eq!(edge.quiesced_parent, is_quiesced, "{MISCOUNTED}");
        }
        let quiesced_below = |above| {
            let below = |edge: &&Edge| edge.quiesced_parent && edge.parent == above;
            self.edges.iter().filter(below).count() as u32
        };
        for (key, node) in self.nodes.iter().enumerate() {
            let expected = node.sections + quiesced_below(Above::Node(key));
            assert_eq!(node.reasons, expected, "{MISCOUNTED}");
        }
        for (key, root) in self.roots.iter().enumerate() {
            let expected = quiesced_below(Above::Root(key));
            assert_eq!(root.quiesce_count(), expected, "{MISCOUNTED}");
        }
        for (key, job) in self.others.iter().enumerate() {
            let expected = quiesced_below(Above::Other(key));
            assert_eq!(job.count(), expected, "{MISCOUNTED}");
        }
    }
}

impl<F: Faults> Ledger for Graph<F> {
    type Node = usize;
    type Edge = usize;
    type Root = usize;
    type Other = usize;

    fn reasons(&mut self, node: usize) -> &mut u32 {
        &mut self.nodes[node].reasons
    }

    fn edges_above(&mut self, node: usize, mut each: impl FnMut(&mut bool, AboveOf<Self>)) {
        for edge in self
            .edges
            .iter_mut()
            .filter(|edge| edge.child == Some(node))
        {
            each(&mut edge.quiesced_parent, edge.parent);
        }
    }

    fn edge(&mut self, edge: usize) -> (&mut bool, AboveOf<Self>) {
        let edge = &mut self.edges[edge];
        (&mut edge.quiesced_parent, edge.parent)
    }

    fn sections_over_all(&mut self) -> &mut u32 {
        &mut self.over_all
    }

    fn nodes(&self) -> Vec<usize> {
        (0..self.nodes.len()).collect()
    }
}
