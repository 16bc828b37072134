//! What runs in the main loop while an operation waits there, and changes
//! what the operation is about; and drivers that panic while something is
//! taken back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use block_gs::{
    Backend, BitmapOptions, BlockDriver, BlockLayer, BqlGuard, DeviceOps, Drained, EdgeParent,
    GraphError, IoThread, MainLoop, Node, NodeBuilder, Parent, Perm, Role, WriteTracker, nodes,
};
use block_io::aio::{Wait, sleep, yield_now};
use block_io::dirty::StoredBitmap;
use block_io::{Destination, DeviceIdentity, DeviceIo, DriverIo, IoFuture, Request};
use test_support::in_layer;

const RW: Perm = Perm::CONSISTENT_READ.union(Perm::WRITE);

type Release = Box<dyn Fn(&mut Drained<'_>) -> Result<(), GraphError> + Send + Sync>;

#[derive(Default)]
struct Disk {
    /// What it does when it is to let the image go.
    release: Mutex<Option<Release>>,
    panics_when_taken: AtomicBool,
    panics_once_storing: AtomicBool,
    /// Run, once, while bitmaps are stored.
    while_storing: Mutex<Option<(MainLoop, Job)>>,
    closed: AtomicUsize,
}

type Job = Box<dyn FnOnce(&mut BqlGuard) + Send>;

impl DriverIo for Disk {
    fn read<'r>(&'r self, _: Request<'r>, _: u64, _: Destination<'r>) -> IoFuture<'r> {
        IoFuture::done()
    }

    fn length<'r>(&'r self, _: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(4096))
    }

    fn invalidate_cache<'r>(&'r self, _: Request<'r>) -> IoFuture<'r> {
        assert!(!self.panics_when_taken.load(Ordering::SeqCst), "taken");
        IoFuture::done()
    }

    fn can_store_bitmap<'r>(&'r self, _: Request<'r>, _: &'r str, _: u32) -> IoFuture<'r> {
        IoFuture::done()
    }

    fn store_bitmaps<'r>(&'r self, _: Request<'r>, _: &'r [StoredBitmap]) -> IoFuture<'r> {
        let panics = self.panics_once_storing.swap(false, Ordering::SeqCst);
        assert!(!panics, "storing");
        let Some((main, job)) = self.while_storing.lock().expect("no panic").take() else {
            return IoFuture::done();
        };
        IoFuture::new(async move {
            main.schedule(job);
            sleep(Duration::from_millis(20)).await;
            Ok(())
        })
    }
}

impl BlockDriver for Disk {
    fn format_name(&self) -> &'static str {
        "disk"
    }

    fn inactivate(&self, section: &mut Drained<'_>) -> Result<(), GraphError> {
        match &*self.release.lock().expect("no panic") {
            Some(release) => release(section),
            None => Ok(()),
        }
    }

    fn supports_persistent_bitmaps(&self) -> bool {
        true
    }

    fn close(&self, _: &mut BqlGuard) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

fn open(bql: &mut BqlGuard, name: &str, child: Option<&Node>) -> (Node, Arc<Disk>) {
    let disk = Arc::new(Disk::default());
    let mut builder = NodeBuilder::new(name);
    if let Some(child) = child {
        builder = builder.child("file", child, Role::IMAGE);
    }
    let node = builder.open(bql, disk.clone()).expect("it opens");
    (node, disk)
}

fn writer(bql: &mut BqlGuard, name: &str) -> Backend {
    Backend::new(bql, name, RW, Perm::all()).expect("a backend")
}

fn run_what_is_ready(bql: &mut BqlGuard) {
    while bql.poll(Wait::No) {}
}

/// A device that keeps a section waiting for some turns of the main loop, in
/// the first of which `job` runs.
struct Busy {
    polls: AtomicUsize,
    job: Mutex<Option<Job>>,
}

impl Busy {
    fn with(job: impl FnOnce(&mut BqlGuard) + Send + 'static) -> Arc<Busy> {
        Arc::new(Busy {
            polls: AtomicUsize::new(0),
            job: Mutex::new(Some(Box::new(job))),
        })
    }
}

impl DeviceIo for Busy {}

impl DeviceOps for Busy {
    fn drained_poll(&self, bql: &BqlGuard) -> bool {
        if let Some(job) = self.job.lock().expect("no panic").take() {
            bql.main_loop().schedule(job);
        }
        let busy = self.polls.fetch_add(1, Ordering::SeqCst) < 8;
        if busy {
            bql.main_loop().kick();
        }
        busy
    }
}

#[test]
fn a_backend_may_go_while_a_driver_lets_its_image_go() {
    in_layer(|bql| {
        let (file, driver) = open(bql, "file", None);
        let (top, _) = open(bql, "top", Some(&file));
        let disk = Backend::over(bql, "disk", &top, RW, Perm::all()).expect("a backend");
        let held = Mutex::new(Some(disk));
        let release: Release = Box::new(move |section| {
            drop(held.lock().expect("no panic").take());
            section.io(async |request| request.flush().await)?;
            section.block_on(yield_now());
            Err(GraphError::ReadOnly)
        });
        *driver.release.lock().expect("no panic") = Some(release);
        let refused = top.inactivate(bql);
        assert!(refused.is_err(), "the driver refuses");
        assert!(!top.view(bql).is_inactive());
    });
}

#[test]
fn a_panic_on_the_way_back_leaves_nobody_inactive() {
    in_layer(|bql| {
        let (file, refuses) = open(bql, "file", None);
        let (mid, panics) = open(bql, "mid", Some(&file));
        let (top, _) = open(bql, "top", Some(&mid));
        let _disk = Backend::over(bql, "disk", &top, RW, Perm::all()).expect("a backend");
        let refuse: Release = Box::new(|_| Err(GraphError::ReadOnly));
        *refuses.release.lock().expect("no panic") = Some(refuse);
        panics.panics_when_taken.store(true, Ordering::SeqCst);
        let outcome = catch_unwind(AssertUnwindSafe(|| top.inactivate(bql)));
        outcome.expect_err("the panic goes on");
        for node in [&top, &mid, &file] {
            assert!(!node.view(bql).is_inactive(), "{}", node.name());
        }
    });
}

#[test]
fn a_driver_that_panics_while_it_stores_bitmaps_is_closed() {
    let layer = BlockLayer::new().expect("a layer");
    let driver = layer.enter(|bql| {
        let (node, driver) = open(bql, "node", None);
        keep_a_bitmap(bql, &node);
        driver.panics_once_storing.store(true, Ordering::SeqCst);
        drop(node);
        catch_unwind(AssertUnwindSafe(|| run_what_is_ready(bql))).expect_err("it panics");
        run_what_is_ready(bql);
        assert_eq!(nodes(bql).count(), 0);
        driver
    });
    drop(layer);
    assert_eq!(driver.closed.load(Ordering::SeqCst), 1);
}

fn keep_a_bitmap(bql: &mut BqlGuard, node: &Node) {
    let options = BitmapOptions {
        persistent: true,
        ..BitmapOptions::default()
    };
    node.add_bitmap(bql, "bitmap", options).expect("a bitmap");
}

#[test]
fn a_node_that_is_inactivated_meanwhile_gets_no_writer() {
    in_layer(|bql| {
        let (node, _) = open(bql, "node", None);
        let disk = writer(bql, "disk");
        let other = node.clone();
        let busy = Busy::with(move |bql| other.inactivate(bql).expect("nobody writes"));
        let _device = disk
            .attach_device(bql, DeviceIdentity::default(), busy)
            .expect("attached");
        let refused = disk.insert(bql, &node);
        assert!(refused.is_err(), "it is inactive by now");
        assert!(node.view(bql).is_inactive());
        assert!(!node.view(bql).cumulative_perm().contains(Perm::WRITE));
    });
}

#[test]
fn no_writer_is_led_to_an_inactive_node() {
    in_layer(|bql| {
        let (active, _) = open(bql, "active", None);
        let (inactive, _) = open(bql, "inactive", None);
        inactive.inactivate(bql).expect("nobody writes");
        let disk = Backend::over(bql, "disk", &active, RW, Perm::all()).expect("a backend");
        let refused = disk.replace(bql, &inactive);
        assert!(refused.is_err(), "a writer");
        let refused = active.drain(bql).replace_with(&inactive);
        assert!(refused.is_err(), "a writer");
        assert_eq!(disk.node(bql), Some(active));
    });
}

#[test]
fn a_name_is_free_when_its_backend_is_dropped() {
    in_layer(|bql| {
        drop(writer(bql, "disk"));
        drop(writer(bql, "disk"));
    });
}

/// Does it again in each turn of the main loop, for a while.
fn insist(bql: &mut BqlGuard, times: usize, mut what: impl FnMut(&mut BqlGuard) + Send + 'static) {
    what(bql);
    if times > 0 {
        bql.main_loop()
            .schedule(move |bql| insist(bql, times - 1, what));
    }
}

#[test]
fn who_inserts_again_while_the_layer_closes_keeps_no_driver_open() {
    let layer = BlockLayer::new().expect("a layer");
    let driver = layer.enter(|bql| {
        let (node, driver) = open(bql, "node", None);
        let disk = Backend::over(bql, "disk", &node, RW, Perm::all()).expect("a backend");
        bql.main_loop().schedule(move |bql| {
            insist(bql, 40, move |bql| {
                if disk.node(bql).is_none() {
                    let _ = disk.insert(bql, &node);
                }
            });
        });
        driver
    });
    drop(layer);
    assert_eq!(driver.closed.load(Ordering::SeqCst), 1);
}

struct Anybody;

impl EdgeParent for Anybody {
    fn describe(&self) -> String {
        "anybody".into()
    }
}

#[test]
fn a_parent_that_the_closing_layer_has_let_go_attaches_nothing() {
    let layer = BlockLayer::new().expect("a layer");
    let driver = layer.enter(|bql| {
        let (node, driver) = open(bql, "node", None);
        let parent = Parent::new(bql, Arc::new(Anybody));
        bql.main_loop().schedule(move |bql| {
            insist(bql, 40, move |bql| {
                let _ = parent.attach(bql, "edge", &node, Perm::empty(), Perm::all());
            });
        });
        driver
    });
    drop(layer);
    assert_eq!(driver.closed.load(Ordering::SeqCst), 1);
}

#[test]
fn both_ends_are_in_one_context_though_one_was_moved_meanwhile() {
    in_layer(|bql| {
        let io = IoThread::create(bql, "io").expect("an iothread");
        let (node, _) = open(bql, "node", None);
        let disk = writer(bql, "disk");
        let (other, to) = (node.clone(), io.clone());
        let busy = Busy::with(move |bql| other.set_iothread(bql, Some(&to)).expect("moved"));
        let _device = disk
            .attach_device(bql, DeviceIdentity::default(), busy)
            .expect("attached");
        disk.insert(bql, &node).expect("inserted");
        assert_eq!(disk.root().context(), node.io().context());
        disk.set_allow_context_change(bql, true);
        disk.set_iothread(bql, Some(&io)).expect("moved");
        assert_eq!(node.io().context(), *io.context());
    });
}

/// A device that, whenever it is waited for, hands the main loop a job.
struct Restless {
    is_idle: AtomicBool,
    /// The job itself waits for nothing.
    at_work: Arc<AtomicBool>,
    job: Arc<dyn Fn(&mut BqlGuard) + Send + Sync>,
}

impl Restless {
    fn with(job: impl Fn(&mut BqlGuard) + Send + Sync + 'static) -> Arc<Restless> {
        Arc::new(Restless {
            is_idle: AtomicBool::new(false),
            at_work: Arc::default(),
            job: Arc::new(job),
        })
    }
}

impl DeviceIo for Restless {}

impl DeviceOps for Restless {
    fn drained_poll(&self, bql: &BqlGuard) -> bool {
        if self.at_work.load(Ordering::SeqCst) {
            return false;
        }
        let was_idle = self.is_idle.fetch_xor(true, Ordering::SeqCst);
        if !was_idle {
            let (job, at_work) = (Arc::clone(&self.job), Arc::clone(&self.at_work));
            bql.main_loop().schedule(move |bql| {
                at_work.store(true, Ordering::SeqCst);
                job(bql);
                at_work.store(false, Ordering::SeqCst);
            });
            bql.main_loop().kick();
        }
        !was_idle
    }
}

#[test]
fn a_backend_does_not_run_after_a_node_for_ever() {
    in_layer(|bql| {
        let threads = ["one", "two"].map(|name| IoThread::create(bql, name).expect("an iothread"));
        let (node, _) = open(bql, "node", None);
        let disk = writer(bql, "disk");
        let other = node.clone();
        let device = Restless::with(move |bql| {
            let here = other.io().context();
            let to = threads.iter().find(|thread| *thread.context() != here);
            other.set_iothread(bql, to).expect("moved");
        });
        let _device = disk
            .attach_device(bql, DeviceIdentity::default(), device)
            .expect("attached");
        let refused = disk.insert(bql, &node).expect_err("it is never there");
        assert!(
            matches!(refused, GraphError::ContextOfActiveBackend),
            "{refused}"
        );
        assert_eq!(disk.node(bql), None);
    });
}

/// While what is above it is waited for the new child goes to another thread,
/// and while that comes back somebody has I/O in a section of his own.
#[test]
fn a_change_does_not_wait_for_ever_for_what_is_changed_all_the_time() {
    in_layer(|bql| {
        let thread = IoThread::create(bql, "io").expect("an iothread");
        let [one, two, three] = ["one", "two", "three"].map(|name| open(bql, name, None).0);
        let (top, _) = open(bql, "top", Some(&one));
        let [above, beside] = ["above", "beside"].map(|name| writer(bql, name));
        above.insert(bql, &top).expect("nobody objects");
        beside.set_allow_context_change(bql, true);
        beside.insert(bql, &two).expect("nobody objects");
        let moved = two.clone();
        let moves = Restless::with(move |bql| {
            moved.set_iothread(bql, Some(&thread)).expect("moved");
        });
        let works = Restless::with(move |bql| {
            let mut section = three.drain(bql);
            let flushed = section.io(async |request: Request<'_>| request.flush().await);
            flushed.expect("flushed");
        });
        let _devices = [(&above, moves), (&beside, works)].map(|(backend, device)| {
            let attached = backend.attach_device(bql, DeviceIdentity::default(), device);
            attached.expect("it has none")
        });
        let (other, _) = open(bql, "other", None);
        let mut section = other.drain(bql);
        let mut changes = section.transaction();
        changes.at(&top).replace_child("file", &two);
        let refused = changes.commit();
        let refused = refused.expect_err("somebody is always there");
        assert_eq!(refused.errno(), 16, "{refused}");
    });
}

#[test]
fn a_tracker_may_outlive_a_node_that_was_closing_when_it_was_made() {
    in_layer(|bql| {
        let kept: Arc<Mutex<Option<WriteTracker>>> = Arc::default();
        let (node, driver) = open(bql, "node", None);
        keep_a_bitmap(bql, &node);
        let keep = Arc::clone(&kept);
        let job: Job = Box::new(move |bql| {
            let all: Vec<Node> = nodes(bql).map(|view| view.node(bql)).collect();
            for node in all {
                let tracker = node.track_writes(bql, 512, true).expect("a tracker");
                *keep.lock().expect("no panic") = Some(tracker);
            }
        });
        let main = bql.main_loop();
        *driver.while_storing.lock().expect("no panic") = Some((main, job));
        drop(node);
        run_what_is_ready(bql);
        assert_eq!(nodes(bql).count(), 0);
        let tracker = kept.lock().expect("no panic").take();
        drop(tracker.expect("made while the node was closing"));
        run_what_is_ready(bql);
    });
}

/// A device that, when it is first told to be quiet, lets go of a node whose end
/// takes a while, and hands the main loop a job for that time: what looks for
/// nodes that nobody needs then runs it.
struct Parting(Mutex<Option<(Node, Job)>>);

impl DeviceIo for Parting {}

impl DeviceOps for Parting {
    fn drained_begin(&self, bql: &BqlGuard) {
        if let Some((node, job)) = self.0.lock().expect("no panic").take() {
            drop(node);
            bql.main_loop().schedule(job);
        }
    }
}

/// The job runs in the first change of the graph in a section over `backend`.
fn parting(
    bql: &mut BqlGuard,
    backend: &Backend,
    job: impl FnOnce(&mut BqlGuard) + Send + 'static,
) -> block_gs::Attachment {
    let (slow, driver) = open(bql, "slow", None);
    // It has a bitmap to be stored, which takes a while.
    keep_a_bitmap(bql, &slow);
    let nothing: Job = Box::new(|_| ());
    let main = bql.main_loop();
    *driver.while_storing.lock().expect("no panic") = Some((main, nothing));
    let device = Arc::new(Parting(Mutex::new(Some((slow, Box::new(job))))));
    let attached = backend.attach_device(bql, DeviceIdentity::default(), device);
    attached.expect("it has none")
}

/// Who has looked at a child before a transaction says so, and it is another one
/// by the time the changes are made.
#[test]
fn what_was_looked_at_is_so_or_nothing_changes() {
    in_layer(|bql| {
        let [one, two, three] = ["one", "two", "three"].map(|name| open(bql, name, None).0);
        let (top, _) = open(bql, "top", Some(&one));
        let backend = writer(bql, "disk");
        backend.insert(bql, &top).expect("nobody objects");
        let (changed, to) = (top.clone(), two.clone());
        let _device = parting(bql, &backend, move |bql| {
            let set = changed.drain(bql).replace_child("file", &to);
            set.expect("nobody objects");
        });
        let file = |bql: &BqlGuard| top.view(bql).child("file").map(|e| e.child().node(bql));
        let mut section = top.drain(bql);
        assert_eq!(file(&section).as_ref(), Some(&one), "the look");
        let mut changes = section.transaction();
        changes.expect_child("file", Some(&one));
        changes.replace_child("file", &three);
        let refused = changes.commit().expect_err("it is another one now");
        assert!(
            matches!(&refused, GraphError::ChildChanged { parent, edge }
                if parent == "top" && edge == "file"),
            "{refused}"
        );
        assert_eq!(file(&section).as_ref(), Some(&two), "as it was made");
        // Nothing happens meanwhile this time.
        let mut changes = section.transaction();
        changes.expect_child("file", Some(&two));
        changes.expect_child("backing", None);
        changes.replace_child("file", &three);
        // What was noted before is done by now.
        changes.expect_child("file", Some(&three));
        changes.commit().expect("it is so");
        let mut changes = section.transaction();
        changes
            .detach_child("file")
            .expect_child("file", Some(&three));
        let refused = changes.commit();
        assert!(matches!(refused, Err(GraphError::ChildChanged { .. })));
        assert_eq!(file(&section).as_ref(), Some(&three), "taken back");
    });
}

#[test]
fn a_backend_gets_another_node_only_for_the_one_that_was_meant() {
    in_layer(|bql| {
        let [one, two, three] = ["one", "two", "three"].map(|name| open(bql, name, None).0);
        let backend = writer(bql, "disk");
        let empty = backend.replace_if(bql, &one, &two);
        assert!(matches!(empty, Err(GraphError::ChildChanged { .. })));
        backend.insert(bql, &one).expect("nobody objects");
        let (changed, to) = (backend.clone(), two.clone());
        let device = Busy::with(move |bql| changed.replace(bql, &to).expect("nobody objects"));
        let _device = backend.attach_device(bql, DeviceIdentity::default(), device);
        let refused = backend.replace_if(bql, &one, &three);
        let refused = refused.expect_err("it is another one");
        assert_eq!(
            refused.to_string(),
            "The child 'root' of 'disk' has changed meanwhile"
        );
        assert_eq!(backend.node(bql), Some(two.clone()));
        backend.replace_if(bql, &two, &three).expect("that one");
        assert_eq!(backend.node(bql), Some(three));
    });
}
