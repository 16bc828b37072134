//! Moving nodes and backends between AioContexts, and who may wait where.

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use block_gs::{
    Backend, BqlGuard, EdgeId, EdgeParent, GraphError, IoThread, Node, Parent, Perm, Role,
    WaitError, iothreads,
};
use block_io::Buffer;
use block_io::aio::{AioContext, Wait, sleep};
use common::{Mem, above, backend, filter, in_layer, node, spin_until};

#[test]
fn iothreads_are_named_listed_and_removed() {
    in_layer(|bql| {
        let io0 = IoThread::create(bql, "io0").expect("an iothread");
        let io1 = IoThread::create(bql, "io1").expect("an iothread");
        let again = IoThread::create(bql, "io0").expect_err("taken");
        assert!(matches!(again, GraphError::DuplicateIoThread(_)));
        let names: Vec<_> = iothreads(bql).map(|io| io.name().to_owned()).collect();
        assert_eq!(names, ["io0", "io1"]);
        assert_eq!(IoThread::find(bql, "io1").expect("there"), io1);

        let (disk, _) = node(bql, "disk", Mem::of(512));
        disk.set_iothread(bql, Some(&io0)).expect("moved");
        assert!(matches!(io0.remove(bql), Err(GraphError::IoThreadInUse(_))));
        disk.set_iothread(bql, None).expect("moved");
        io0.remove(bql).expect("unused");
        assert!(matches!(
            io0.remove(bql),
            Err(GraphError::NoSuchIoThread(_))
        ));
        assert_eq!(
            IoThread::find(bql, "io0").expect_err("gone").to_string(),
            "Cannot find iothread io0"
        );
    });
}

#[test]
fn a_move_takes_everything_connected_along() {
    in_layer(|bql| {
        let io0 = IoThread::create(bql, "io0").expect("an iothread");
        let (base, base_driver) = node(bql, "base", Mem::of(512));
        let (top, _) =
            above(bql, "top", Mem::overlay(512), "backing", &base, Role::COW).expect("opened");
        let (other, _) = filter(bql, "other", &base);
        let front = backend(bql, "front", &top);
        assert_eq!(
            base.set_iothread(bql, Some(&io0))
                .expect_err("fixed")
                .to_string(),
            "Cannot change iothread of active block backend"
        );
        assert_eq!(other.io().context().name(), "main");
        // The backend itself may, and takes the others along.
        front.set_iothread(bql, Some(&io0)).expect("moved");
        for node in [&base, &top, &other] {
            assert_eq!(node.io().context().name(), "io0", "{node:?}");
        }
        assert_eq!(front.root().context().name(), "io0");
        assert_eq!(*base_driver.contexts.lock().expect("no panic"), ["io0"]);
        front.set_allow_context_change(bql, true);
        base.set_iothread(bql, None).expect("allowed");
        assert_eq!(front.root().context().name(), "main");
    });
}

#[test]
fn a_backend_keeps_its_iothread_when_its_node_goes() {
    in_layer(|bql| {
        let io0 = IoThread::create(bql, "io0").expect("an iothread");
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let front = Backend::new(bql, "front", Perm::empty(), Perm::all()).expect("a backend");
        front.set_iothread(bql, Some(&io0)).expect("moved");
        front.insert(bql, &disk).expect("inserted");
        assert_eq!(disk.io().context().name(), "io0");
        front.remove(bql);
        assert_eq!(disk.io().context().name(), "main");
        assert_eq!(front.root().context().name(), "io0");
        front.insert(bql, &disk).expect("inserted");
        assert_eq!(disk.io().context().name(), "io0");
    });
}

#[test]
fn connecting_brings_both_ends_into_one_context() {
    in_layer(|bql| {
        let io0 = IoThread::create(bql, "io0").expect("an iothread");
        let io1 = IoThread::create(bql, "io1").expect("an iothread");
        let (base, _) = node(bql, "base", Mem::of(512));
        let (top, _) = node(bql, "top", Mem::overlay(512));
        top.set_iothread(bql, Some(&io0)).expect("moved");
        top.drain(bql).set_backing(Some(&base)).expect("set");
        assert_eq!(base.io().context().name(), "io0", "the child follows");

        let (fixed, _) = node(bql, "fixed", Mem::of(512));
        let front = backend(bql, "front", &fixed);
        front.set_iothread(bql, Some(&io1)).expect("moved");
        top.drain(bql).set_backing(Some(&fixed)).expect("set");
        assert_eq!(top.io().context().name(), "io1", "else the parent does");

        let (far, _) = node(bql, "far", Mem::overlay(512));
        let other = backend(bql, "other", &far);
        other.set_iothread(bql, Some(&io0)).expect("moved");
        let refused = far.drain(bql).set_backing(Some(&fixed));
        assert!(matches!(refused, Err(GraphError::ContextOfActiveBackend)));
        assert_eq!(far.view(bql).children().count(), 0);
    });
}

/// Tasks of a backend run where the backend is at home, also those that were
/// parked in a drained section or asleep when it moved.
#[test]
fn tasks_follow_their_backend() {
    in_layer(|bql| {
        let io0 = IoThread::create(bql, "io0").expect("an iothread");
        let io1 = IoThread::create(bql, "io1").expect("an iothread");
        let (disk, _) = node(bql, "disk", Mem::of(4096));
        let front = backend(bql, "front", &disk);
        front.set_iothread(bql, Some(&io0)).expect("moved");
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let strays = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..4)
            .map(|i| {
                let (root, stop) = (front.root().clone(), Arc::clone(&stop));
                let (done, strays) = (Arc::clone(&done), Arc::clone(&strays));
                front.root().spawn(async move {
                    let mut buffer = Buffer::zeroed(512);
                    while !stop.load(Ordering::Relaxed) {
                        let in_flight = root.begin().await;
                        // Counted: the backend cannot move until we end.
                        let here = AioContext::current().expect("a context");
                        if here != root.context() {
                            strays.lock().expect("no panic").push(i);
                        }
                        let request = in_flight.request().expect("a node");
                        request.read(0, buffer.destination()).await.expect("read");
                        drop(in_flight);
                        done.fetch_add(1, Ordering::Relaxed);
                        if i % 2 == 0 {
                            sleep(Duration::from_micros(50)).await;
                        }
                        block_io::aio::yield_now().await;
                    }
                })
            })
            .collect();
        for round in 0..200 {
            let to = if round % 2 == 0 { &io1 } else { &io0 };
            front.set_iothread(bql, Some(to)).expect("moved");
            bql.run_for(Duration::from_micros(200));
        }
        let before = done.load(Ordering::Relaxed);
        spin_until(bql, || done.load(Ordering::Relaxed) > before + 100);
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            bql.block_on(task);
        }
        assert_eq!(*strays.lock().expect("no panic"), Vec::<i32>::new());
        front.set_iothread(bql, None).expect("moved");
        io0.remove(bql).expect("unused");
        io1.remove(bql).expect("unused");
    });
}

#[test]
fn main_and_home_may_wait_and_others_may_not() {
    in_layer(|bql| {
        let io0 = IoThread::create(bql, "io0").expect("an iothread");
        let io1 = IoThread::create(bql, "io1").expect("an iothread");
        let (disk, _) = node(bql, "disk", Mem::slow(4096, Duration::from_millis(1)));
        let front = backend(bql, "front", &disk);
        front.set_iothread(bql, Some(&io0)).expect("moved");
        let mut buffer = Buffer::zeroed(512);
        front
            .read_blocking(bql, 0, buffer.destination())
            .expect("the main thread may");
        assert_eq!(front.length_blocking(bql).expect("a length"), 4096);

        let (tell, told) = mpsc::channel();
        for io in [&io0, &io1] {
            let (front, tell) = (front.clone(), tell.clone());
            io.context().schedule(move |home| {
                let written = front.write_blocking(home, 0, Buffer::zeroed(512).source());
                let flushed = front.flush_blocking(home);
                let _ = tell.send((home.context().name().to_owned(), written.and(flushed)));
            });
        }
        for _ in 0..2 {
            let (name, result) = told.recv().expect("an answer");
            match name.as_str() {
                "io0" => result.expect("the home thread may"),
                _ => {
                    let Err(WaitError::WrongThread { here, there }) = result else {
                        panic!("a foreign thread must not wait");
                    };
                    assert_eq!((here.as_str(), there.as_str()), ("io1", "io0"));
                }
            }
        }
    });
}

#[test]
fn io_code_asks_the_main_loop_for_a_change() {
    in_layer(|bql| {
        let io0 = IoThread::create(bql, "io0").expect("an iothread");
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let (next, _) = node(bql, "next", Mem::of(512));
        let front = backend(bql, "front", &disk);
        let (main, asked) = (bql.main_loop(), next.clone());
        let task = io0.context().spawn(async move {
            main.call(move |bql| disk.drain(bql).replace_with(&asked))
                .await
        });
        bql.block_on(task)
            .expect("the loop runs")
            .expect("replaced");
        assert_eq!(front.node(bql), Some(next));
    });
}

/// A parent of its own kind that is somewhere, and perhaps stays there.
struct Settled {
    home: Mutex<AioContext>,
    moves: bool,
}

impl EdgeParent for Settled {
    fn describe(&self) -> String {
        "test parent".to_owned()
    }

    fn context(&self) -> Option<AioContext> {
        Some(self.home.lock().expect("no panic").clone())
    }

    fn may_change_context(&self, _bql: &BqlGuard, _context: &AioContext) -> Result<(), GraphError> {
        if self.moves {
            return Ok(());
        }
        Err(GraphError::ContextNotSupported(self.describe()))
    }

    fn context_changed(&self, _bql: &BqlGuard, context: &AioContext) {
        *self.home.lock().expect("no panic") = context.clone();
    }
}

fn settled(bql: &mut BqlGuard, home: &AioContext, moves: bool) -> (Arc<Settled>, Parent) {
    let class = Arc::new(Settled {
        home: Mutex::new(home.clone()),
        moves,
    });
    let parent = Parent::new(bql, class.clone());
    (class, parent)
}

fn attach(bql: &mut BqlGuard, parent: &Parent, node: &Node) -> Result<EdgeId, GraphError> {
    parent.attach(bql, "node", node, Perm::empty(), Perm::all())
}

#[test]
fn the_nodes_of_a_parent_are_in_one_context() {
    in_layer(|bql| {
        let io0 = IoThread::create(bql, "io0").expect("an iothread");
        let io1 = IoThread::create(bql, "io1").expect("an iothread");
        let (one, _) = node(bql, "one", Mem::of(512));
        let (two, _) = node(bql, "two", Mem::of(512));
        let (fixed, _) = node(bql, "fixed", Mem::of(512));
        let front = backend(bql, "front", &fixed);
        front.set_iothread(bql, Some(&io1)).expect("moved");

        let (class, parent) = settled(bql, io0.context(), true);
        let name = |class: &Settled| class.home.lock().expect("no panic").name().to_owned();
        attach(bql, &parent, &one).expect("it comes");
        assert_eq!(one.io().context().name(), "io0", "the node comes");
        attach(bql, &parent, &two).expect("it comes");
        assert_eq!(two.io().context().name(), "io0");
        attach(bql, &parent, &fixed).expect("the parent goes");
        for node in [&one, &two, &fixed] {
            assert_eq!(node.io().context().name(), "io1", "{node:?}");
        }
        assert_eq!(name(&class), "io1");
        // So no node is left behind when one moves.
        front.set_allow_context_change(bql, true);
        one.set_iothread(bql, None).expect("moved");
        for node in [&one, &two, &fixed] {
            assert_eq!(node.io().context().name(), "main", "{node:?}");
        }
        assert_eq!(name(&class), "main");
    });
}

#[test]
fn a_parent_that_cannot_be_where_a_node_is_does_not_get_it() {
    in_layer(|bql| {
        let io0 = IoThread::create(bql, "io0").expect("an iothread");
        let io1 = IoThread::create(bql, "io1").expect("an iothread");
        let (fixed, _) = node(bql, "fixed", Mem::of(512));
        let front = backend(bql, "front", &fixed);
        front.set_iothread(bql, Some(&io1)).expect("moved");

        // One without nodes does not go: nothing would stop it meanwhile.
        let (_, bare) = settled(bql, io0.context(), true);
        let refused = attach(bql, &bare, &fixed);
        assert!(matches!(refused, Err(GraphError::ContextOfActiveBackend)));

        let (_, parent) = settled(bql, io0.context(), false);
        let (one, _) = node(bql, "one", Mem::of(512));
        attach(bql, &parent, &one).expect("it comes");
        let refused = attach(bql, &parent, &fixed);
        assert!(matches!(refused, Err(GraphError::ContextOfActiveBackend)));
        assert_eq!(one.io().context().name(), "io0");
        assert_eq!(fixed.io().context().name(), "io1");
        assert_eq!(fixed.view(bql).parents().count(), 1);
    });
}

#[test]
fn a_node_that_is_refused_goes_back() {
    in_layer(|bql| {
        let io0 = IoThread::create(bql, "io0").expect("an iothread");
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let here = bql.context().clone();
        let (_, first) = settled(bql, &here, true);
        let nothing = Perm::empty();
        first
            .attach(bql, "node", &disk, nothing, nothing)
            .expect("nobody else is there");
        let (_, second) = settled(bql, io0.context(), true);
        let refused = second.attach(bql, "node", &disk, Perm::WRITE, Perm::all());
        assert!(matches!(
            refused,
            Err(GraphError::PermissionConflict { .. })
        ));
        assert_eq!(disk.io().context().name(), "main");
        assert_eq!(disk.view(bql).parents().count(), 1);
    });
}

/// Whoever was the reason for a node to be elsewhere has gone: it comes back,
/// unless somebody is left who needs it there.
#[test]
fn a_node_comes_back_when_a_parent_lets_it_go() {
    in_layer(|bql| {
        let io0 = IoThread::create(bql, "io0").expect("an iothread");
        let (free, _) = node(bql, "free", Mem::of(512));
        let (kept, _) = node(bql, "kept", Mem::of(512));
        let front = backend(bql, "front", &kept);
        front.set_iothread(bql, Some(&io0)).expect("moved");
        let (_class, parent) = settled(bql, io0.context(), false);
        let edges = [&free, &kept].map(|node| attach(bql, &parent, node).expect("it comes"));
        assert_eq!(free.io().context().name(), "io0");
        for edge in edges {
            parent.detach(bql, edge).expect("it is there");
        }
        assert_eq!(free.io().context().name(), "main");
        assert_eq!(kept.io().context().name(), "io0", "its backend is there");

        attach(bql, &parent, &free).expect("it comes");
        drop(parent);
        bql.poll(Wait::No);
        assert_eq!(free.io().context().name(), "main", "it went as a whole");
    });
}

#[test]
fn the_children_of_a_node_that_is_deleted_come_back() {
    in_layer(|bql| {
        let io0 = IoThread::create(bql, "io0").expect("an iothread");
        let (free, _) = node(bql, "free", Mem::of(512));
        let (kept, _) = node(bql, "kept", Mem::of(512));
        let front = backend(bql, "front", &kept);
        front.set_iothread(bql, Some(&io0)).expect("moved");
        for child in [&free, &kept] {
            let (filter, _) = filter(bql, "filter", child);
            filter.set_iothread(bql, Some(&io0)).expect("moved");
            assert_eq!(child.io().context().name(), "io0");
            drop(filter);
            bql.poll(Wait::No);
            assert!(Node::find(bql, "filter").is_none(), "it was the last");
        }
        assert_eq!(free.io().context().name(), "main");
        assert_eq!(kept.io().context().name(), "io0", "its backend is there");
    });
}
