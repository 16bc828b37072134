//! Nothing stays closed, parked or unheard for ever, whatever panics and
//! whatever runs in between.

mod common;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use block_gs::{
    Backend, BlockDriver, BqlGuard, GraphError, IoThread, Node, NodeBuilder, Perm, PermPair, Role,
    drain_all, drain_many, nodes,
};
use block_io::aio::{FdRegistration, Interest, Wait, sleep, yield_now};
use block_io::{Activity, Buffer, Destination, DriverIo, IoFuture, Request};
use common::{Mem, backend, in_layer, node};
use futures_channel::oneshot;

/// Panics at the end of a drained section when armed; does not flush at once;
/// asks the main loop to look at a node after it has been closed.
#[derive(Default)]
struct Awkward {
    panics: AtomicBool,
    looked_at_late: Mutex<Option<Node>>,
}

impl DriverIo for Awkward {
    fn read<'r>(
        &'r self,
        _request: Request<'r>,
        _offset: u64,
        _into: Destination<'r>,
    ) -> IoFuture<'r> {
        IoFuture::done()
    }

    fn flush<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r> {
        IoFuture::new(async {
            yield_now().await;
            yield_now().await;
            Ok(())
        })
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(512))
    }
}

impl BlockDriver for Awkward {
    fn format_name(&self) -> &'static str {
        "awkward"
    }

    fn drain_end(&self, _bql: &BqlGuard) {
        assert!(!self.panics.load(Ordering::Relaxed), "the driver panics");
    }

    fn close(&self, bql: &mut BqlGuard) {
        if let Some(node) = self.looked_at_late.lock().expect("no panic").take() {
            let job = move |bql: &mut BqlGuard| drop(node.view(bql).name().to_owned());
            bql.main_loop().schedule(job);
        }
    }
}

fn awkward(bql: &mut BqlGuard, name: &str) -> (Node, Arc<Awkward>) {
    let driver = Arc::new(Awkward::default());
    let node = NodeBuilder::new(name).open(bql, driver.clone());
    (node.expect("opened"), driver)
}

#[test]
fn a_driver_that_panics_at_the_end_of_a_section_leaves_no_gate_closed() {
    let sections: [fn(&mut BqlGuard, [Node; 3]); 2] = [
        |bql, nodes| drain_many(bql, nodes).end(),
        |bql, _| drain_all(bql).end(),
    ];
    for section in sections {
        in_layer(|bql| {
            let (first, _) = node(bql, "first", Mem::of(512));
            let (faulty, driver) = awkward(bql, "faulty");
            let (last, _) = node(bql, "last", Mem::of(512));
            let all = [first, faulty, last];
            let fronts: Vec<Backend> = all
                .iter()
                .map(|node| backend(bql, &format!("over-{}", node.name()), node))
                .collect();
            driver.panics.store(true, Ordering::Relaxed);
            let handles = all.clone();
            let ended = catch_unwind(AssertUnwindSafe(|| section(bql, handles)));
            assert!(ended.is_err());
            driver.panics.store(false, Ordering::Relaxed);
            for (node, front) in all.iter().zip(&fronts) {
                assert_eq!(node.view(bql).quiesce_count(), 0, "{node:?}");
                assert_eq!(front.root().quiesce_count(), 0, "{front:?}");
            }
        });
    }
}

#[test]
fn a_job_that_panics_while_a_root_is_being_closed_leaves_it_open() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let front = Backend::new(bql, "front", Perm::CONSISTENT_READ, Perm::all()).expect("made");
        let root = front.root().clone();
        let request = bql.context().spawn(async move {
            let _in_flight = root.begin().await;
            sleep(Duration::from_millis(5)).await;
        });
        bql.poll(Wait::No);
        assert_eq!(front.root().in_flight(), 1);
        bql.main_loop().schedule(|_| panic!("a job panics"));
        let inserted = catch_unwind(AssertUnwindSafe(|| front.insert(bql, &disk)));
        assert!(inserted.is_err());
        assert_eq!(front.root().quiesce_count(), 0);
        bql.block_on(request);
        front.insert(bql, &disk).expect("inserted");
    });
}

/// A job, and the end of what a nested poll waits for, come in the same turn
/// of the loop. The nested poll has heard the bell and leaves without looking.
#[test]
fn a_job_is_not_left_behind_by_a_nested_poll() {
    in_layer(|bql| {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let reader = Arc::new(reader);
        let (nested_end, nested) = oneshot::channel();
        let (answer, question) = oneshot::channel();
        let registration: Arc<Mutex<Option<FdRegistration>>> = Arc::default();
        let (place, watched, main) = (
            Arc::clone(&registration),
            Arc::clone(&reader),
            bql.main_loop(),
        );
        let mut ends = Some((nested_end, answer));
        bql.context().schedule(move |home| {
            let handler = move |_: &mut block_io::aio::HomeThread<'_>, _| {
                if let Some((nested_end, answer)) = ends.take() {
                    main.schedule(move |_| {
                        let _ = answer.send(());
                    });
                    nested_end.send(()).expect("waited for");
                }
            };
            let installed = home.set_fd_handler(watched, Interest::READ, handler);
            *place.lock().expect("no panic") = Some(installed.expect("watched"));
        });
        bql.poll(Wait::No);
        bql.main_loop().schedule(move |bql| {
            let ready = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(5));
                writer.write_all(b"x").expect("written");
                writer
            });
            bql.block_on(nested).expect("the handler ran");
            drop(registration.lock().expect("no panic").take());
            ready.join().expect("no panic");
        });
        bql.block_on(question).expect("the job ran");
    });
}

/// The child of the filter changes after the transaction has found out what
/// it has to drain.
#[test]
fn what_a_change_needs_drained_is_looked_up_again_after_waiting() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::slow(4096, Duration::from_millis(5)));
        let (other, _) = node(bql, "other", Mem::of(4096));
        let asks_nothing = PermPair {
            perm: Perm::empty(),
            shared: Perm::all(),
        };
        let driver = Mem {
            child_perms: Some(asks_nothing),
            ..Mem::filter()
        };
        let filter = NodeBuilder::new("filter")
            .child("file", &base, Role::FILTERED | Role::PRIMARY)
            .open(bql, Arc::new(driver))
            .expect("opened");
        let front = backend(bql, "front", &filter);
        let busy = backend(bql, "busy", &base);
        let shared = Perm::all() - Perm::WRITE;
        let strict = Backend::new(bql, "strict", Perm::CONSISTENT_READ, shared).expect("made");
        strict.insert(bql, &other).expect("inserted");
        let root = busy.root().clone();
        let request = bql.context().spawn(async move {
            let mut buffer = Buffer::zeroed(512);
            root.read(0, buffer.destination()).await
        });
        bql.poll(Wait::No);
        let (parent, child) = (filter.clone(), other.clone());
        bql.main_loop().schedule(move |bql| {
            let mut section = parent.drain(bql);
            section.replace_child("file", &child).expect("replaced");
        });
        let mut section = filter.drain(bql);
        let dropped = section.drop_filter();
        assert!(
            matches!(dropped, Err(GraphError::PermissionConflict { .. })),
            "{dropped:?}"
        );
        drop(section);
        assert_eq!(front.node(bql), Some(filter));
        assert_eq!(front.root().quiesce_count(), 0);
        bql.block_on(request).expect("read");
    });
}

/// More nodes than frames would fit on the stack.
#[test]
fn many_nodes_are_let_go_at_once() {
    in_layer(|bql| {
        let all: Vec<Node> = (0..5000)
            .map(|i| awkward(bql, &format!("n{i}")).0)
            .collect();
        drop(all);
        bql.poll(Wait::No);
        assert_eq!(nodes(bql).count(), 0);
    });
}

#[test]
fn what_is_parked_at_a_node_that_goes_away_is_let_in_and_finds_nothing() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::of(512));
        let (top, _) = common::filter(bql, "top", &base);
        let mut section = drain_all(bql);
        let io = Arc::clone(top.io());
        let parked = section.context().spawn(async move {
            let activity = Activity::begin(io).await;
            activity.request().children().iter().count()
        });
        section.with(|bql| {
            bql.poll(Wait::No);
            assert!(!parked.is_finished());
            drop(top);
            bql.poll(Wait::No);
            assert_eq!(bql.block_on(parked), 0);
        });
    });
}

#[test]
fn no_job_meets_a_node_that_went_with_the_layer() {
    in_layer(|bql| {
        let (disk, driver) = awkward(bql, "disk");
        *driver.looked_at_late.lock().expect("no panic") = Some(disk);
    });
}

#[test]
fn an_iothread_that_waits_for_the_main_loop_does_not_stop_it_from_ending() {
    let (answer, answered) = mpsc::channel();
    in_layer(|bql| {
        let main = bql.main_loop();
        let io = IoThread::create(bql, "io0").expect("an iothread");
        io.context().schedule(move |home| {
            std::thread::sleep(Duration::from_millis(20));
            let outcome = home.block_on(main.call(|_| ())).expect("a home thread");
            answer.send(outcome).expect("heard");
        });
    });
    // Whether the main loop was still there is a matter of luck.
    let _ = answered.recv().expect("it does not wait for ever");
}

/// A driver that panics once when permissions are asked of it, or granted.
#[derive(Default)]
struct Moody {
    panics_when_asked: AtomicBool,
    panics_when_granted: AtomicBool,
}

impl DriverIo for Moody {
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

impl BlockDriver for Moody {
    fn format_name(&self) -> &'static str {
        "moody"
    }

    fn check_perm(&self, _bql: &BqlGuard, _asked: PermPair) -> Result<(), GraphError> {
        assert!(
            !self.panics_when_asked.swap(false, Ordering::Relaxed),
            "moody"
        );
        Ok(())
    }

    fn set_perm(&self, _bql: &BqlGuard, _granted: PermPair) {
        assert!(
            !self.panics_when_granted.swap(false, Ordering::Relaxed),
            "moody"
        );
    }
}

#[test]
fn a_panic_while_permissions_change_leaves_them_as_they_were() {
    in_layer(|bql| {
        let driver = Arc::new(Moody::default());
        let disk = NodeBuilder::new("moody")
            .open(bql, driver.clone())
            .expect("opened");
        let front = Backend::new(bql, "front", Perm::WRITE, Perm::all()).expect("a backend");
        for mood in [&driver.panics_when_asked, &driver.panics_when_granted] {
            mood.store(true, Ordering::Relaxed);
            let outcome = catch_unwind(AssertUnwindSafe(|| front.insert(bql, &disk)));
            assert!(outcome.is_err());
            assert_eq!(front.node(bql), None);
            assert_eq!(front.root().quiesce_count(), 0);
            assert_eq!(disk.view(bql).cumulative_perm(), Perm::empty());
        }
        front.insert(bql, &disk).expect("nobody panics");
        driver.panics_when_granted.store(true, Ordering::Relaxed);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            front.set_perm(bql, Perm::RESIZE, Perm::all())
        }));
        assert!(outcome.is_err());
        assert_eq!(front.perms(bql).perm, Perm::WRITE);
    });
}

/// A node that is being closed is not found, and takes no new parents.
#[test]
fn nobody_attaches_to_a_node_on_its_way_out() {
    struct Farewell(Mutex<Option<bool>>);
    impl DriverIo for Farewell {
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
    impl BlockDriver for Farewell {
        fn format_name(&self) -> &'static str {
            "farewell"
        }
        fn close(&self, bql: &mut BqlGuard) {
            let found = Node::find(bql, "leaving").is_some();
            let leaving = nodes(bql).find(|node| node.name() == "leaving");
            let leaving = leaving.expect("still there").node(bql);
            let late = Backend::new(bql, "late", Perm::empty(), Perm::all()).expect("a backend");
            let refused = late.insert(bql, &leaving);
            let refused = matches!(refused, Err(GraphError::NodeClosing(_)));
            *self.0.lock().expect("no panic") = Some(!found && refused);
        }
    }
    in_layer(|bql| {
        let driver = Arc::new(Farewell(Mutex::new(None)));
        let node = NodeBuilder::new("leaving")
            .open(bql, driver.clone())
            .expect("opened");
        drop(node);
        while bql.poll(Wait::No) {}
        assert_eq!(*driver.0.lock().expect("no panic"), Some(true));
        assert_eq!(nodes(bql).count(), 0);
    });
}

/// Two parents fixed in different contexts cannot share a child.
#[test]
fn a_child_cannot_be_in_two_contexts() {
    in_layer(|bql| {
        let io = IoThread::create(bql, "io0").expect("an iothread");
        let (one, _) = node(bql, "one", Mem::overlay(512));
        let (two, _) = node(bql, "two", Mem::overlay(512));
        let (shared, _) = node(bql, "shared", Mem::of(512));
        let fixed_here = backend(bql, "here", &one);
        let fixed_there = backend(bql, "there", &two);
        fixed_there.set_iothread(bql, Some(&io)).expect("moved");
        let mut section = one.drain(bql);
        let mut changes = section.transaction();
        changes.set_backing(Some(&shared));
        changes.at(&two).set_backing(Some(&shared));
        let refused = changes.commit().expect_err("cannot be in both");
        assert!(matches!(refused, GraphError::ContextOfActiveBackend));
        drop(section);
        assert_eq!(shared.io().context(), fixed_here.root().context());
        assert_eq!(shared.view(bql).parents().count(), 0);
    });
}
