//! Proofs, handles and cells used for what they are not for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use block_gs::{Backend, BlockLayer, BqlGuard, EdgeParent, GraphError, Node, Parent, Perm, Role};
use block_io::aio::Wait;
use block_io::{Activity, Buffer, Destination, DriverIo, GraphCell, IoError, IoFuture, Request};

use crate::common::{Mem, above, backend, child_name, in_layer, node};

#[track_caller]
fn refused(what: &str, f: impl FnOnce()) {
    let outcome = catch_unwind(AssertUnwindSafe(f));
    let panic = outcome.expect_err(what);
    let words = panic.downcast_ref::<String>().cloned();
    let words = words.or_else(|| panic.downcast_ref::<&str>().map(|&s| s.to_owned()));
    let words = words.expect("a message");
    assert!(words.contains(what), "{words}");
}

#[test]
fn a_cell_is_written_in_a_section_of_its_own_node_only() {
    in_layer(|bql| {
        let (mine, _) = node(bql, "mine", Mem::of(512));
        let (other, _) = node(bql, "other", Mem::of(512));
        let cell = GraphCell::new(mine.io().uid(), 1);
        refused("the node it belongs to", || {
            other.drain(bql).set(&cell, 2);
        });
        assert_eq!(other.view(bql).quiesce_count(), 0);
        // Not in one that covers the node as well, but is another's.
        let mut outer = mine.drain(bql);
        refused("the node it belongs to", || {
            outer.also(&other).set(&cell, 2);
        });
        assert_eq!(outer.set(&cell, 2), 1);
    });
}

#[test]
fn a_node_of_the_same_name_is_another_node() {
    in_layer(|bql| {
        let (first, _) = node(bql, "disk", Mem::of(512));
        let cell = GraphCell::new(first.io().uid(), 1);
        let io = Arc::clone(first.io());
        drop(first);
        while bql.poll(Wait::No) {}
        let (second, _) = node(bql, "disk", Mem::of(512));
        assert_ne!(io.uid(), second.io().uid());
        refused("the node it belongs to", || {
            second.drain(bql).set(&cell, 2);
        });
        let activity = Activity::try_begin(second.io()).expect("open");
        refused("the node it belongs to", || {
            cell.get(activity.request());
        });
    });
}

/// What requests may keep of a node, its I/O half, outlives the node. It is
/// cut off: nothing is below it.
#[test]
fn the_io_half_of_a_node_that_is_gone_leads_nowhere() {
    let layer = BlockLayer::new().expect("a block layer");
    let (io, root) = layer.enter(|bql| {
        let (base, _) = node(bql, "base", Mem::of(512));
        let (top, _) =
            above(bql, "top", Mem::overlay(512), "backing", &base, Role::COW).expect("opened");
        let front = backend(bql, "front", &top);
        (Arc::clone(top.io()), front.root().clone())
    });
    drop(layer);
    let activity = Activity::try_begin(&io).expect("nobody closes it any more");
    let below = activity.request().backing().map(drop);
    assert!(matches!(below, Err(IoError::NoChild("backing"))));
    let in_flight = root.try_begin().expect("open");
    let below = in_flight.request().map(drop);
    assert!(matches!(below, Err(IoError::NoMedium)));
}

#[test]
fn an_edge_is_not_found_again_when_its_place_is_taken() {
    struct Job;
    impl EdgeParent for Job {
        fn describe(&self) -> String {
            "a job".into()
        }
    }
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let job = Parent::new(bql, Arc::new(Job));
        let attach = |bql: &mut BqlGuard| {
            job.attach(bql, "edge", &disk, Perm::empty(), Perm::all())
                .expect("attached")
        };
        let first = attach(bql);
        job.detach(bql, first).expect("detached");
        for _ in 0..100 {
            let next = attach(bql);
            let stale = first.view(bql).map(drop);
            assert!(matches!(stale, Err(GraphError::StaleEdge)));
            let again = job.detach(bql, first);
            assert!(matches!(again, Err(GraphError::StaleEdge)));
            job.detach(bql, next).expect("its own is found");
        }
        // Nor is another parent's edge this parent's.
        let other = Parent::new(bql, Arc::new(Job));
        let edge = attach(bql);
        let foreign = other.detach(bql, edge);
        assert!(matches!(foreign, Err(GraphError::StaleEdge)));
        assert!(edge.view(bql).is_ok());
    });
}

/// A chain is thawed by keys, and its links may be gone and their places
/// taken.
#[test]
fn thawing_what_is_gone_thaws_nothing_else() {
    in_layer(|bql| {
        let open = |bql: &mut BqlGuard, name: &str| {
            let (base, _) = node(bql, &format!("{name}-base"), Mem::of(512));
            let (top, _) =
                above(bql, name, Mem::overlay(512), "backing", &base, Role::COW).expect("opened");
            (top, base)
        };
        let (first, first_base) = open(bql, "first");
        let old = first.freeze_chain(bql, &first_base).expect("frozen");
        let (second, second_base) = open(bql, "second");
        let new = second.freeze_chain(bql, &second_base).expect("frozen");
        old.thaw(bql);
        assert!(second.is_chain_frozen(bql, &second_base).expect("a chain"));
        let twice = second.freeze_chain(bql, &second_base);
        assert!(matches!(twice, Err(GraphError::FrozenLink { .. })));
        new.thaw(bql);
        assert!(!second.is_chain_frozen(bql, &second_base).expect("a chain"));
    });
}

/// Each of these has a handle of another layer somewhere. None of them gets as
/// far as changing either.
#[test]
fn nothing_of_another_layer_is_taken_for_ones_own() {
    struct Job;
    impl EdgeParent for Job {
        fn describe(&self) -> String {
            "a job".into()
        }
    }
    let theirs = BlockLayer::new().expect("a block layer");
    let (disk, front, job, frozen, edge) = theirs.enter(|bql| {
        let (base, _) = node(bql, "base", Mem::of(512));
        let (disk, _) =
            above(bql, "disk", Mem::overlay(512), "backing", &base, Role::COW).expect("opened");
        let front = backend(bql, "front", &disk);
        let job = Parent::new(bql, Arc::new(Job));
        let edge = job
            .attach(bql, "edge", &disk, Perm::empty(), Perm::all())
            .expect("attached");
        let frozen = disk.freeze_chain(bql, &base).expect("frozen");
        (disk, front, job, frozen, edge)
    });
    in_layer(|bql| {
        let (own, _) = node(bql, "disk", Mem::overlay(512));
        let own_front = backend(bql, "front", &own);
        let foreign = "belongs to another block layer";
        type Use = Box<dyn FnOnce(&mut BqlGuard)>;
        let mut uses: Vec<Use> = Vec::new();
        let (node, backend) = (|| disk.clone(), || front.clone());
        let mut with = |f: fn(&mut BqlGuard, &Node, &Backend)| {
            let (node, backend) = (node(), backend());
            uses.push(Box::new(move |bql| f(bql, &node, &backend)));
        };
        with(|bql, node, _| drop(node.view(bql).name().to_owned()));
        with(|bql, node, _| node.drain(bql).end());
        with(|bql, node, _| block_gs::drain_many(bql, [node.clone()]).end());
        with(|bql, node, _| node.set_monitor_owned(bql));
        with(|bql, node, _| drop(node.set_iothread(bql, None)));
        with(|bql, node, _| drop(node.freeze_chain(bql, node)));
        with(|bql, _, front| front.remove(bql));
        with(|bql, _, front| drop(front.set_perm(bql, Perm::empty(), Perm::all())));
        with(|bql, _, front| front.set_allow_context_change(bql, true));
        with(|bql, node, _| {
            let own = Backend::find(bql, "front").expect("ours");
            drop(own.replace(bql, node));
        });
        with(|bql, node, _| {
            let own = Node::find(bql, "disk").expect("ours");
            drop(own.drain(bql).set_backing(Some(node)));
        });
        with(|bql, node, _| {
            let own = Node::find(bql, "disk").expect("ours");
            drop(own.drain(bql).replace_with(node));
        });
        with(|bql, node, _| {
            let own = Node::find(bql, "disk").expect("ours");
            own.drain(bql).transaction().at(node).set_backing(None);
        });
        with(|bql, node, _| {
            let own = Node::find(bql, "disk").expect("ours");
            own.drain(bql).also(node).end();
        });
        uses.push(Box::new(|bql| frozen.thaw(bql)));
        let parent = disk.clone();
        let attach = move |bql: &mut BqlGuard| {
            let attached = job.attach(bql, "x", &parent, Perm::empty(), Perm::all());
            drop(attached);
        };
        uses.push(Box::new(attach));
        for f in uses {
            refused(foreign, || f(bql));
            assert_eq!(own.view(bql).quiesce_count(), 0);
            assert_eq!(own_front.root().quiesce_count(), 0);
            assert_eq!(own_front.node(bql).as_ref(), Some(&own));
            assert_eq!(child_name(bql, &own, "backing"), None);
        }
        refused("another block layer", || drop(edge.view(bql)));
    });
    theirs.enter(|bql| {
        assert_eq!(front.node(bql), Some(disk.clone()));
        assert_eq!(disk.view(bql).quiesce_count(), 0);
        disk.drain(bql).end();
    });
}

/// A driver whose data is in a cell.
struct Celled(GraphCell<u8>);

impl DriverIo for Celled {
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        _offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        into.fill(*self.0.get(request));
        IoFuture::done()
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(512))
    }
}

impl block_gs::BlockDriver for Celled {
    fn format_name(&self) -> &'static str {
        "celled"
    }
}

/// A node's I/O half shows its driver, and the functions of a driver take any
/// request. Nothing stops one from being called with a request of another
/// node, or from being asked what the layer would have refused; what drained
/// sections replace is in cells, and those look.
#[test]
fn a_driver_called_with_a_request_of_another_node_reaches_no_cell() {
    in_layer(|bql| {
        let builder = block_gs::NodeBuilder::new("celled");
        let cell = GraphCell::new(builder.uid(), 9);
        let celled = builder.open(bql, Arc::new(Celled(cell))).expect("opened");
        let (plain, driver) = node(bql, "plain", Mem::of(512));
        let (own, other) = (
            Activity::try_begin(celled.io()).expect("open"),
            Activity::try_begin(plain.io()).expect("open"),
        );
        let mut buffer = Buffer::zeroed(512);
        refused("the node it belongs to", || {
            let request = other.request();
            drop(celled.io().driver().read(request, 0, buffer.destination()));
        });
        let read = plain
            .io()
            .driver()
            .read(own.request(), 0, buffer.destination());
        bql.block_on(read).expect("nothing that it needs is wrong");
        assert_eq!(driver.reads.load(std::sync::atomic::Ordering::Relaxed), 1);
    });
}

/// Looks at the node above it while it is closed, which has gone before.
struct LooksUp(std::sync::Mutex<Option<Node>>);

impl DriverIo for LooksUp {
    fn read<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _into: Destination<'r>,
    ) -> IoFuture<'r> {
        IoFuture::done()
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(512))
    }
}

impl block_gs::BlockDriver for LooksUp {
    fn format_name(&self) -> &'static str {
        "looks-up"
    }

    fn close(&self, bql: &mut BqlGuard) {
        let above = self.0.lock().expect("no panic").take().expect("put there");
        refused("has been closed", || {
            above.drain(bql).end();
        });
    }
}

#[test]
fn a_handle_of_a_node_that_was_closed_with_its_layer_finds_nothing() {
    in_layer(|bql| {
        let driver = Arc::new(LooksUp(std::sync::Mutex::default()));
        let below = block_gs::NodeBuilder::new("below").open(bql, driver.clone());
        let below = below.expect("opened");
        let overlay = Mem::overlay(512);
        let (above, _) =
            above(bql, "above", overlay, "backing", &below, Role::COW).expect("opened");
        *driver.0.lock().expect("no panic") = Some(above);
    });
}
