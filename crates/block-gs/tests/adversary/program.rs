//! A program that uses what there is, in steps. Each step works, or refuses,
//! whatever became of those before it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use block_gs::{
    Backend, BqlGuard, DetectZeroes, IoThread, Node, NodeBuilder, NodeOptions, Parent, Perm,
    ReopenOptions, Role, drain_all, drain_many,
};
use block_io::aio::{Wait, sleep, yield_now};
use block_io::{Buffer, CopyEnd, IoError, Preallocation, Request, Root, WriteFlags};

use crate::hooks::{Hooks, Trap, TrapJob};

pub const SIZE: usize = 4096;

/// What the steps leave for each other.
pub struct World {
    pub hooks: Arc<Hooks>,
    pub nodes: Vec<Node>,
    pub front: Option<Backend>,
    pub parent: Option<Parent>,
    pub job: Arc<TrapJob>,
    pub io: Option<IoThread>,
}

impl World {
    pub fn new(hooks: &Arc<Hooks>) -> World {
        World {
            hooks: Arc::clone(hooks),
            nodes: Vec::new(),
            front: None,
            parent: None,
            job: Arc::new(TrapJob {
                hooks: Arc::clone(hooks),
                drained: AtomicI64::new(0),
            }),
            io: None,
        }
    }

    fn open(&mut self, bql: &mut BqlGuard, name: &str, edges: &[(&str, &str, Role)], filter: bool) {
        let driver = match filter {
            true => Trap::filter(&self.hooks),
            false => Trap::of(&self.hooks, SIZE),
        };
        let mut builder = NodeBuilder::new(name).options(NodeOptions {
            unmap: true,
            ..NodeOptions::default()
        });
        for (edge, child, role) in edges {
            let Some(child) = Node::find(bql, child) else {
                return;
            };
            builder = builder.child(edge, &child, *role);
        }
        let opened = builder.open(bql, Arc::new(driver));
        self.nodes.extend(opened);
    }

    fn root(&self) -> Option<Root> {
        Some(self.front.as_ref()?.root().clone())
    }
}

/// A waker that is foreign code wherever it is called or dropped.
struct TrapWaker(Arc<Hooks>);

impl Wake for TrapWaker {
    fn wake(self: Arc<Self>) {
        self.0.hit("wake");
    }
}

impl Drop for TrapWaker {
    fn drop(&mut self) {
        self.0.hit_in_drop("drop of a waker");
    }
}

/// One step.
pub type Step = (&'static str, fn(&mut World, &mut BqlGuard));

/// All of them, in order.
pub const STEPS: &[Step] = &[
    ("open base", |world, bql| {
        world.open(bql, "base", &[], false)
    }),
    ("open spare", |world, bql| {
        world.open(bql, "spare", &[], false)
    }),
    ("open top", |world, bql| {
        world.open(bql, "top", &[("backing", "base", Role::COW)], false);
    }),
    ("open other", |world, bql| {
        world.open(bql, "other", &[("backing", "spare", Role::COW)], false);
    }),
    ("a backend", |world, bql| {
        let perm = Perm::CONSISTENT_READ | Perm::WRITE | Perm::RESIZE;
        let front = Backend::new(bql, "front", perm, Perm::all());
        world.front = front.ok();
        let (Some(front), Some(top)) = (&world.front, Node::find(bql, "top")) else {
            return;
        };
        let _ = front.insert(bql, &top);
    }),
    ("a job", |world, bql| {
        let parent = Parent::new(bql, world.job.clone());
        world.parent = Some(parent);
        let (Some(parent), Some(base)) = (&world.parent, Node::find(bql, "base")) else {
            return;
        };
        let _ = parent.attach(bql, "main", &base, Perm::empty(), Perm::all());
        // Another that is there when its node is quiesced already.
        let Some(spare) = Node::find(bql, "spare") else {
            return;
        };
        let mut section = drain_all(bql);
        section.with(|bql| {
            let edge = parent.attach(bql, "second", &spare, Perm::empty(), Perm::all());
            if let Ok(edge) = edge {
                let _ = parent.detach(bql, edge);
            }
            let _ = parent.attach(bql, "third", &spare, Perm::empty(), Perm::all());
        });
    }),
    ("requests here", |world, bql| requests(world, bql, false)),
    ("requests in an iothread", |world, bql| {
        if world.io.is_none() {
            world.io = IoThread::create(bql, "io0").ok();
        }
        requests(world, bql, true);
    }),
    ("a section that is tried", |_, bql| {
        let Some(base) = Node::find(bql, "base") else {
            return;
        };
        for limit in [Duration::ZERO, Duration::from_millis(1)] {
            if let Some(mut section) = base.try_drain(bql, limit) {
                section.track_overlaps();
            }
        }
    }),
    ("a section", |_, bql| {
        let Some(base) = Node::find(bql, "base") else {
            return;
        };
        let mut section = base.drain(bql);
        section.set_detect_zeroes(DetectZeroes::On);
        section.track_overlaps();
        let _ = section.io(async |request: Request<'_>| {
            let mut buffer = Buffer::zeroed(512);
            request.read(0, buffer.destination()).await?;
            request.flush().await
        });
        section.set_detect_zeroes(DetectZeroes::Off);
    }),
    ("sections in sections", |_, bql| {
        let Some((base, other)) = Node::find(bql, "base").zip(Node::find(bql, "other")) else {
            return;
        };
        let mut set = drain_many(bql, [base.clone(), other]);
        set.also(&base).end();
        set.end();
        let mut all = drain_all(bql);
        all.with(|bql| while bql.poll(Wait::No) {});
        all.also(&base).end();
    }),
    ("a section around a request", |world, bql| {
        let Some((root, base)) = world.root().zip(Node::find(bql, "base")) else {
            return;
        };
        let task = bql.context().spawn(async move {
            let mut buffer = Buffer::zeroed(512);
            root.read(0, buffer.destination()).await
        });
        bql.poll(Wait::No);
        base.drain(bql).end();
        let _ = bql.block_on(task);
    }),
    ("a transaction", |_, bql| {
        let Some(((top, other), spare)) = trio(bql) else {
            return;
        };
        let mut section = top.drain(bql);
        let mut changes = section.transaction();
        changes.set_backing(Some(&spare));
        changes.at(&other).set_backing(None);
        let _ = changes.commit();
    }),
    ("a transaction that is refused", |_, bql| {
        let Some(((top, other), spare)) = trio(bql) else {
            return;
        };
        let Some(base) = Node::find(bql, "base") else {
            return;
        };
        let mut section = top.drain(bql);
        let mut changes = section.transaction();
        changes.set_backing(Some(&base));
        changes.at(&other).set_backing(Some(&spare));
        changes.at(&base).set_backing(Some(&top));
        assert!(changes.commit().is_err(), "a cycle");
    }),
    ("a transaction that has no permission", |world, bql| {
        let Some(((top, other), spare)) = trio(bql) else {
            return;
        };
        let Some(base) = Node::find(bql, "base") else {
            return;
        };
        let strict = Backend::new(bql, "", Perm::CONSISTENT_READ, Perm::empty());
        let Ok(strict) = strict else { return };
        if strict.insert(bql, &base).is_ok() {
            let mut section = top.drain(bql);
            let mut changes = section.transaction();
            changes.at(&other).set_backing(Some(&spare));
            changes.at(&top).set_backing(None);
            changes.at(&top).set_backing(Some(&base));
            let read = changes.commit();
            assert!(read.is_err() || world.hooks.panicked().is_some());
        }
        if let Some(parent) = &world.parent {
            let write = parent.attach(bql, "refused", &base, Perm::WRITE, Perm::all());
            assert!(write.is_err() || world.hooks.panicked().is_some());
        }
        if let Some(front) = &world.front {
            let _ = front.replace(bql, &base);
        }
        strict.remove(bql);
    }),
    ("nodes are reopened", |_, bql| {
        let found = ["top", "other", "spare"].map(|name| Node::find(bql, name));
        let [Some(top), Some(other), Some(spare)] = found else {
            return;
        };
        let plan = |bql: &BqlGuard, node: &Node| {
            ReopenOptions::new(NodeOptions {
                detect_zeroes: DetectZeroes::On,
                ..node.view(bql).options()
            })
        };
        let plans = [plan(bql, &top), plan(bql, &other)];
        let [first, second] = plans;
        let mut section = top.drain(bql);
        let mut changes = section.transaction();
        changes.reopen(first).set_backing(Some(&spare));
        changes.at(&other).reopen(second);
        let _ = changes.commit();
        section.end();
        // Back, and then something that `top` is written for.
        if let Some(base) = Node::find(bql, "base") {
            let plan = ReopenOptions::new(NodeOptions {
                unmap: true,
                ..NodeOptions::default()
            });
            let mut section = top.drain(bql);
            let mut changes = section.transaction();
            changes.set_backing(Some(&base)).reopen(plan);
            let _ = changes.commit();
        }
        let _ = other.set_read_only(bql, true);
        let _ = other.set_read_only(bql, false);
        let _ = top.set_read_only(bql, true);
    }),
    ("wakers", |world, bql| {
        let Some((root, base)) = world.root().zip(Node::find(bql, "base")) else {
            return;
        };
        let spare = Node::find(bql, "spare");
        let waker = Waker::from(Arc::new(TrapWaker(Arc::clone(&world.hooks))));
        let section = drain_many(bql, spare.into_iter().chain([base]));
        let mut parked = pin!(root.begin());
        let pending = parked.as_mut().poll(&mut Context::from_waker(&waker));
        drop(waker);
        section.end();
        drop(pending);
    }),
    ("a filter comes and goes", |world, bql| {
        world.open(bql, "filter", &[], true);
        let Some(base) = Node::find(bql, "base") else {
            return;
        };
        let driver = Trap::filter(&world.hooks);
        let edge = Role::FILTERED | Role::PRIMARY;
        let builder = NodeBuilder::new("filter").child("file", &base, edge);
        let Ok(filter) = builder.open(bql, Arc::new(driver)) else {
            return;
        };
        let _ = base.drain(bql).replace_with(&filter);
        requests(world, bql, false);
        let _ = filter.drain(bql).drop_filter();
    }),
    ("a backend changes its node", |world, bql| {
        let (Some(front), Some(((top, other), _))) = (&world.front, trio(bql)) else {
            return;
        };
        let _ = front.replace(bql, &other);
        let _ = front.set_perm(bql, Perm::CONSISTENT_READ, Perm::all());
        let _ = front.set_perm(bql, Perm::CONSISTENT_READ | Perm::WRITE, Perm::all());
        front.remove(bql);
        let _ = front.insert(bql, &top);
    }),
    ("everything moves", |world, bql| {
        if world.io.is_none() {
            world.io = IoThread::create(bql, "io0").ok();
        }
        let (Some(front), Some(io)) = (&world.front, &world.io) else {
            return;
        };
        let _ = front.set_iothread(bql, Some(io));
        requests(world, bql, true);
        let _ = front.set_iothread(bql, None);
    }),
    ("a chain is frozen", |_, bql| {
        let Some(top) = Node::find(bql, "top") else {
            return;
        };
        let child = top.view(bql).child("backing");
        let Some(base) = child.map(|edge| edge.child().node(bql)) else {
            return;
        };
        let Ok(frozen) = top.freeze_chain(bql, &base) else {
            return;
        };
        assert!(top.drain(bql).set_backing(None).is_err());
        frozen.thaw(bql);
    }),
    ("a threshold", |world, bql| {
        let Some((top, root)) = Node::find(bql, "top").zip(world.root()) else {
            return;
        };
        let hooks = Arc::clone(&world.hooks);
        let mut section = top.drain(bql);
        section.set_write_threshold(16, move |_, _, _| hooks.hit("threshold"));
        drop(section);
        let buffer = Buffer::zeroed(512);
        let _ = bql.block_on(root.write(0, buffer.source()));
        top.drain(bql).set_write_threshold(0, |_, _, _| ());
    }),
    ("a bottom half, a timer, a task, a job", |world, bql| {
        let hooks = Arc::clone(&world.hooks);
        bql.context().schedule(move |_| hooks.hit("bottom half"));
        let hooks = Arc::clone(&world.hooks);
        let timer = bql.context().spawn(async move {
            sleep(Duration::from_micros(10)).await;
            hooks.hit("timer");
            yield_now().await;
            hooks.hit("task");
        });
        let hooks = Arc::clone(&world.hooks);
        bql.main_loop().schedule(move |_| hooks.hit("job"));
        let hooks = Arc::clone(&world.hooks);
        let base = Node::find(bql, "base");
        bql.main_loop().schedule(move |bql| {
            let Some(base) = base else { return };
            let _section = base.drain(bql);
            hooks.hit("job, in a section");
        });
        bql.block_on(timer);
        while bql.poll(Wait::No) {}
    }),
    ("a node goes", |world, bql| {
        world.open(bql, "passing", &[("backing", "base", Role::COW)], false);
        world.nodes.retain(|node| node.name() != "passing");
        while bql.poll(Wait::No) {}
    }),
];

fn trio(bql: &BqlGuard) -> Option<((Node, Node), Node)> {
    Node::find(bql, "top")
        .zip(Node::find(bql, "other"))
        .zip(Node::find(bql, "spare"))
}

/// One request of each kind, through the front.
fn requests(world: &World, bql: &mut BqlGuard, in_iothread: bool) {
    let Some(root) = world.root() else { return };
    let context = match (&world.io, in_iothread) {
        (Some(io), true) => io.context().clone(),
        _ => bql.context().clone(),
    };
    // Each is a task of its own, and all are waited for: what one panics with
    // comes out of the wait for it.
    let tasks: Vec<_> = (0..KINDS)
        .map(|kind| context.spawn(one_request(root.clone(), kind)))
        .collect();
    let mut failed = None;
    for task in tasks {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| bql.block_on(task))) {
            failed = Some(panic);
        }
    }
    if let Some(panic) = failed {
        resume_unwind(panic);
    }
}

const KINDS: usize = 9;

async fn one_request(root: Root, kind: usize) -> Result<(), IoError> {
    let mut buffer = Buffer::zeroed(512);
    match kind {
        0 => root.read(0, buffer.destination()).await,
        1 => root.write(512, buffer.source()).await,
        2 => root.write_zeroes(1024, 512, WriteFlags::empty()).await,
        3 => root.discard(0, 512).await,
        4 => root.flush().await,
        5 => root.length().await.map(drop),
        6 => root.truncate(SIZE as u64, true, Preallocation::Off).await,
        7 => {
            let in_flight = root.begin().await;
            let request = in_flight.request()?;
            request.block_status(0, 512, true).await.map(drop)
        }
        _ => {
            let in_flight = root.begin().await;
            let request = in_flight.request()?;
            let to = CopyEnd {
                request,
                offset: 512,
            };
            request.copy_range(0, to, 512, WriteFlags::empty()).await
        }
    }
}

/// Nobody is in anybody's way: used by the check that all is well.
pub fn works(world: &World, bql: &mut BqlGuard) {
    requests(world, bql, false);
    requests(world, bql, true);
    drain_all(bql).end();
    assert_eq!(world.job.drained.load(Ordering::SeqCst), 0);
}
