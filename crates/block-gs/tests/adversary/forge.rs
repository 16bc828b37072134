//! Forging, leaking, duplicating, smuggling. What the compiler stops is in
//! `ui-tests`; this is what compiles.

use std::any::Any;
use std::cell::{OnceCell, RefCell};
use std::mem::{ManuallyDrop, forget, swap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use block_gs::{BlockLayer, BqlGuard, Drained, GraphError, IoThread, Node, Perm, Role, nodes};
use block_io::aio::sleep;
use block_io::{Activity, Buffer, GraphCell, Request, Root};

use crate::common::{Mem, above, backend, child_name, in_layer, node};

/// Any request of a root runs, to its end.
fn reads(bql: &mut BqlGuard, root: &Root) {
    let mut buffer = Buffer::zeroed(512);
    bql.block_on(root.read(0, buffer.destination()))
        .expect("read");
}

#[test]
fn a_guard_found_by_its_type_is_the_guard_that_was_lent() {
    in_layer(|bql| {
        let (_disk, _) = node(bql, "disk", Mem::of(512));
        let erased: &mut dyn Any = bql;
        let found: &mut BqlGuard = erased.downcast_mut().expect("it is one");
        assert_eq!(nodes(found).count(), 1);
        // `found` has borrowed `bql` to here: there were never two.
        assert_eq!(nodes(bql).count(), 1);
    });
}

#[test]
fn requests_that_are_swapped_keep_each_their_count() {
    in_layer(|bql| {
        let (one, _) = node(bql, "one", Mem::of(512));
        let (two, _) = node(bql, "two", Mem::of(512));
        let (first, second) = (backend(bql, "first", &one), backend(bql, "second", &two));
        let mut a = first.root().try_begin().expect("open");
        let mut b = second.root().try_begin().expect("open");
        swap(&mut a, &mut b);
        assert_eq!(a.request().expect("a node").node().name(), "two");
        drop(a);
        assert_eq!(second.root().in_flight(), 0, "the count went with it");
        assert_eq!(first.root().in_flight(), 1);
        two.drain(bql).end();
        drop(b);
        one.drain(bql).end();
    });
}

/// What outlives a section's scope keeps it open; nobody gets in, and nothing
/// can be written through it any more.
#[test]
fn a_leaked_section_stays_open_whichever_way_it_leaks() {
    struct Cycle<'a> {
        _section: Drained<'a>,
        itself: RefCell<Option<Rc<Cycle<'a>>>>,
    }
    let leaks: [fn(Drained<'_>); 4] = [
        |section| forget(section),
        |section| {
            let _never_dropped = ManuallyDrop::new(section);
        },
        |section| {
            let section = Box::leak(Box::new(section));
            assert_eq!(section.node().name(), "disk");
        },
        |section| {
            let cycle = Rc::new(Cycle {
                _section: section,
                itself: RefCell::new(None),
            });
            *cycle.itself.borrow_mut() = Some(Rc::clone(&cycle));
        },
    ];
    for leak in leaks {
        in_layer(|bql| {
            let (disk, _) = node(bql, "disk", Mem::of(512));
            let front = backend(bql, "front", &disk);
            leak(disk.drain(bql));
            assert_eq!(disk.view(bql).quiesce_count(), 1);
            assert!(front.root().try_begin().is_none(), "nobody gets in");
            // Others can be opened and ended over it, and it stays.
            disk.drain(bql).end();
            assert_eq!(front.root().quiesce_count(), 1);
        });
    }
}

#[test]
fn a_forgotten_plan_changes_nothing() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::of(512));
        let (top, _) = node(bql, "top", Mem::overlay(512));
        let mut section = top.drain(bql);
        let mut changes = section.transaction();
        changes.set_backing(Some(&base));
        forget(changes);
        section.end();
        assert_eq!(child_name(bql, &top, "backing"), None);
        assert_eq!(top.view(bql).quiesce_count(), 0);
    });
}

#[test]
fn a_forgotten_freeze_is_refused_and_ends_with_the_layer() {
    let layer = BlockLayer::new().expect("a block layer");
    let driver = layer.enter(|bql| {
        let (base, driver) = node(bql, "base", Mem::of(512));
        let (top, _) =
            above(bql, "top", Mem::overlay(512), "backing", &base, Role::COW).expect("opened");
        forget(top.freeze_chain(bql, &base).expect("frozen"));
        let refused = top.drain(bql).set_backing(None);
        assert!(matches!(refused, Err(GraphError::FrozenChild { .. })));
        driver
    });
    drop(layer);
    assert_eq!(driver.closed.load(Ordering::Relaxed), 1);
}

/// A request that was begun is counted by the future that holds it: who
/// forgets that future forgets the request.
#[test]
fn a_request_that_is_forgotten_half_way_is_counted_for_ever() {
    // Such a layer never closes, so it is leaked too.
    let layer = Box::leak(Box::new(BlockLayer::new().expect("a block layer")));
    layer.enter(|bql| {
        let (disk, _) = node(bql, "disk", Mem::slow(512, Duration::from_secs(3600)));
        let front = backend(bql, "front", &disk);
        let root = front.root().clone();
        bql.block_on(async {
            let mut buffer = Buffer::zeroed(512);
            let mut read = Box::pin(root.read(0, buffer.destination()));
            let polled = std::future::poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx))).await;
            assert!(polled.is_pending());
            forget(read);
            assert_eq!(root.in_flight(), 1);
            // The buffer is ours again: nothing that was forgotten runs.
            assert_eq!(buffer.as_slice(), [0; 512]);
        });
        forget((disk, front));
    });
}

/// An activity that a section's owner takes from its own request passes the
/// closed gate, and may outlive the request. Writes of the graph wait for it,
/// also those of a section outside.
#[test]
fn what_the_owners_request_leaves_behind_is_waited_for_before_a_write() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::of(512));
        let (top, _) =
            above(bql, "top", Mem::overlay(512), "backing", &base, Role::COW).expect("opened");
        let (spare, _) = node(bql, "spare", Mem::of(512));
        let io = IoThread::create(bql, "io0").expect("an iothread");
        type Take = fn(Request<'_>) -> Activity;
        let takes: [Take; 2] = [
            |request| request.activity(),
            |request| request.backing().expect("a child").activity(),
        ];
        for (take, owner) in takes.into_iter().zip([&top, &base]) {
            let cell = Arc::new(GraphCell::new(owner.io().uid(), String::from("before")));
            let over = Arc::new(AtomicBool::new(false));
            let mut outer = owner.drain(bql);
            // Of the section itself, or of one inside it.
            let kept = match owner == &top {
                true => outer.io(async |request: Request<'_>| take(request)),
                false => {
                    let mut inner = outer.also(&top);
                    inner.io(async |request: Request<'_>| take(request))
                }
            };
            let reader = {
                let (cell, over) = (Arc::clone(&cell), Arc::clone(&over));
                io.context().spawn(async move {
                    let seen = cell.get(kept.request());
                    sleep(Duration::from_millis(10)).await;
                    assert_eq!(seen, "before");
                    over.store(true, Ordering::SeqCst);
                })
            };
            let before = outer.set(&cell, String::from("after"));
            assert!(over.load(Ordering::SeqCst), "the write has waited");
            assert_eq!(before, "before");
            drop(outer);
            bql.block_on(reader);
        }
        let mut section = top.drain(bql);
        let kept = section.io(async |request: Request<'_>| request.activity());
        let over = Arc::new(AtomicBool::new(false));
        let reader = {
            let over = Arc::clone(&over);
            io.context().spawn(async move {
                let children = kept.request().children();
                sleep(Duration::from_millis(10)).await;
                assert_eq!(children.backing().expect("one").node().name(), "base");
                over.store(true, Ordering::SeqCst);
            })
        };
        section.set_backing(Some(&spare)).expect("replaced");
        assert!(over.load(Ordering::SeqCst), "the change has waited");
        drop(section);
        bql.block_on(reader);
    });
}

#[test]
fn closing_a_layer_waits_for_what_is_counted() {
    let layer = BlockLayer::new().expect("a block layer");
    let over = Arc::new(AtomicBool::new(false));
    let thread = layer.enter(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let activity = Activity::try_begin(disk.io()).expect("open");
        let over = Arc::clone(&over);
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            over.store(true, Ordering::SeqCst);
            drop(activity);
        })
    });
    drop(layer);
    assert!(over.load(Ordering::SeqCst));
    thread.join().expect("no panic");
}

#[test]
fn a_section_goes_on_after_a_panic_that_was_caught_inside_it() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::of(512));
        let (top, _) = node(bql, "top", Mem::overlay(512));
        let front = backend(bql, "front", &top);
        let mut section = top.drain(bql);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            section.io(async |_: Request<'_>| panic!("in the owner's request"))
        }));
        assert!(caught.is_err());
        assert_eq!(top.io().in_flight(), 0, "its request has ended");
        assert_eq!(front.root().quiesce_count(), 1, "the section has not");
        section.set_backing(Some(&base)).expect("it is still one");
        drop(section);
        reads(bql, front.root());
    });
}

/// The guard is captured by reference, so what comes back after a panic is
/// the guard that was lent, and there is still one.
#[test]
fn a_guard_that_a_panic_passed_is_the_only_one_still() {
    let other = BlockLayer::new().expect("a block layer");
    in_layer(|bql| {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let (disk, _) = node(bql, "disk", Mem::of(512));
            let _section = disk.drain(bql);
            panic!("inside");
        }));
        assert!(caught.is_err());
        assert!(other.try_enter(|_| ()).is_err());
        while bql.poll(block_io::aio::Wait::No) {}
        assert_eq!(nodes(bql).count(), 0);
    });
}

/// Closing takes the guard of the layer that is closed, which this thread
/// cannot have. What requests can reach is not taken from under them.
#[test]
fn a_layer_that_is_dropped_inside_another_says_so_and_dangles_nowhere() {
    let (inner, outer) = (
        BlockLayer::new().expect("a block layer"),
        BlockLayer::new().expect("a block layer"),
    );
    let (front, driver) = inner.enter(|bql| {
        let (disk, driver) = node(bql, "disk", Mem::of(512));
        (backend(bql, "front", &disk), driver)
    });
    outer.enter(|bql| {
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(inner)));
        assert!(dropped.is_err());
        assert_eq!(driver.closed.load(Ordering::Relaxed), 0, "nobody could");
        reads(bql, front.root());
        assert_eq!(driver.reads.load(Ordering::Relaxed), 1);
        assert_eq!(nodes(bql).count(), 0);
    });
}

/// A layer may live in a thread-local, and end with its thread.
#[test]
fn a_layer_in_a_thread_local_closes_with_its_thread() {
    thread_local! {
        static LAYER: OnceCell<BlockLayer> = const { OnceCell::new() };
    }
    let thread = std::thread::spawn(|| {
        LAYER.with(|cell| {
            let layer = cell.get_or_init(|| BlockLayer::new().expect("a block layer"));
            layer.enter(|bql| {
                let (disk, driver) = node(bql, "disk", Mem::of(512));
                disk.set_monitor_owned(bql);
                let io = IoThread::create(bql, "io0").expect("an iothread");
                let task = io.context().spawn(async {});
                bql.block_on(task);
                driver
            })
        })
    });
    let driver = thread.join().expect("no panic");
    assert_eq!(driver.closed.load(Ordering::Relaxed), 1);
}

/// An async block that holds the guard is a value that borrows the guard:
/// polled by hand it is where the guard is.
#[test]
fn a_future_that_holds_the_guard_is_polled_where_the_guard_is() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let cx = &mut Context::from_waker(Waker::noop());
        {
            let mut stepwise = pin!(async {
                let mut section = disk.drain(bql);
                block_io::aio::yield_now().await;
                section.io(async |request: Request<'_>| request.flush().await)
            });
            assert!(stepwise.as_mut().poll(cx).is_pending());
            // The section is open across the wait; this thread may wait, too.
            assert!(disk.io().in_flight() == 0);
            assert!(matches!(stepwise.as_mut().poll(cx), Poll::Ready(Ok(()))));
        }
        assert_eq!(disk.view(bql).quiesce_count(), 0);
        {
            let mut half = pin!(async {
                let _section = disk.drain(bql);
                std::future::pending::<()>().await;
            });
            assert!(half.as_mut().poll(cx).is_pending());
        }
        assert_eq!(disk.view(bql).quiesce_count(), 0, "dropped half way");
    });
}

/// Whoever has a node's handle can make an activity of it, and an activity may
/// do what the node is open for. Nothing stops that: permissions are between
/// parents, and an activity is the node's own.
#[test]
fn an_activity_is_not_bound_by_what_parents_may_do() {
    in_layer(|bql| {
        let (disk, driver) = node(bql, "disk", Mem::of(512));
        let front = block_gs::Backend::new(bql, "front", Perm::CONSISTENT_READ, Perm::all());
        let front = front.expect("a backend");
        front.insert(bql, &disk).expect("inserted");
        let root = front.root().clone();
        let buffer = Buffer::from(&[1u8; 512][..]);
        let refused = bql.block_on(root.write(0, buffer.source()));
        assert!(refused.is_err(), "a reader does not write");
        bql.block_on(async {
            let activity = Activity::begin(Arc::clone(disk.io())).await;
            activity.request().write(0, buffer.source()).await
        })
        .expect("the node itself does");
        assert_eq!(driver.bytes.lock().expect("no panic")[0], 1);
    });
}

/// Handles are what may be kept: across entries, and on other threads.
#[test]
fn handles_are_kept_across_entries_and_proofs_are_made_anew() {
    let layer = BlockLayer::new().expect("a block layer");
    let disk: Node = layer.enter(|bql| node(bql, "disk", Mem::of(512)).0);
    let same = std::thread::spawn(move || disk).join().expect("no panic");
    layer.enter(|bql| same.drain(bql).end());
}
