//! Registered buffers: which drivers know of which memory, and when.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use block_gs::{
    Backend, BlockDriver, BqlGuard, GraphError, Node, NodeBuilder, Perm, RegisteredBuffer, Role,
};
use block_io::aio::sleep;
use block_io::{
    BlockLimits, Buffer, Destination, DriverIo, IoError, IoFuture, PinnedMemory, Request, Source,
    WriteFlags,
};
use test_support::in_layer;

#[derive(Default)]
struct Knows {
    filter: bool,
    backing: bool,
    alignment: u32,
    latency: Duration,
    refuses: AtomicBool,
    panics: AtomicBool,
    known: Mutex<Vec<PinnedMemory>>,
    told: AtomicUsize,
    /// Requests that are under way, and how many were when told to forget.
    busy: AtomicUsize,
    disturbed: AtomicUsize,
    /// How many requests came with memory that is registered here, and how
    /// many with other memory.
    registered: AtomicUsize,
    others: AtomicUsize,
}

impl Knows {
    fn knows(&self) -> usize {
        self.known.lock().expect("no panic").len()
    }

    /// Registered means that the driver was told.
    fn count(&self, registered: bool) {
        let count = match registered {
            true => &self.registered,
            false => &self.others,
        };
        assert!(!registered || self.knows() > 0, "nobody has told it");
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self) -> (usize, usize) {
        (
            self.registered.load(Ordering::Relaxed),
            self.others.load(Ordering::Relaxed),
        )
    }
}

impl DriverIo for Knows {
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        mut into: Destination<'r>,
    ) -> IoFuture<'r> {
        self.count(into.is_registered_at(request.node()));
        if self.filter {
            return match request.file() {
                Ok(file) => file.read(offset, into),
                Err(error) => IoFuture::failed(error),
            };
        }
        IoFuture::new(async move {
            self.busy.fetch_add(1, Ordering::Relaxed);
            sleep(self.latency).await;
            into.fill(7);
            self.busy.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        })
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        _offset: u64,
        from: Source<'r>,
        _flags: WriteFlags,
    ) -> IoFuture<'r> {
        self.count(from.is_registered_at(request.node()));
        IoFuture::done()
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(1 << 20))
    }
}

impl BlockDriver for Knows {
    fn format_name(&self) -> &'static str {
        "knows"
    }

    fn is_filter(&self) -> bool {
        self.filter
    }

    fn supports_backing(&self) -> bool {
        self.backing
    }

    fn refresh_limits(&self, _bql: &BqlGuard, limits: &mut BlockLimits) -> Result<(), GraphError> {
        limits.request_alignment = self.alignment.max(1);
        Ok(())
    }

    fn register_buffer(&self, _bql: &BqlGuard, memory: &PinnedMemory) -> Result<(), GraphError> {
        assert!(!self.panics.load(Ordering::Relaxed), "the driver panics");
        if self.refuses.load(Ordering::Relaxed) {
            return Err(IoError::from_errno(12).into());
        }
        let mut known = self.known.lock().expect("no panic");
        assert!(!known.contains(memory), "told twice");
        known.push(memory.clone());
        self.told.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn unregister_buffer(&self, _bql: &BqlGuard, memory: &PinnedMemory) {
        let busy = self.busy.load(Ordering::Relaxed);
        self.disturbed.fetch_add(busy, Ordering::Relaxed);
        let mut known = self.known.lock().expect("no panic");
        let place = known.iter().position(|other| other == memory);
        known.remove(place.expect("it was told before"));
    }

    fn close(&self, _bql: &mut BqlGuard) {
        assert_eq!(self.knows(), 0, "closed before it was told to forget");
    }
}

fn file(bql: &mut BqlGuard, name: &str) -> (Node, Arc<Knows>) {
    open(bql, name, Knows::default(), &[])
}

fn open(
    bql: &mut BqlGuard,
    name: &str,
    driver: Knows,
    children: &[(&str, &Node, Role)],
) -> (Node, Arc<Knows>) {
    let driver = Arc::new(driver);
    let builder = children
        .iter()
        .fold(NodeBuilder::new(name), |builder, (edge, node, role)| {
            builder.child(edge, node, *role)
        });
    (builder.open(bql, driver.clone()).expect("opened"), driver)
}

fn filter() -> Knows {
    Knows {
        filter: true,
        ..Knows::default()
    }
}

fn backend(bql: &mut BqlGuard, node: Option<&Node>) -> Backend {
    let perm = Perm::CONSISTENT_READ | Perm::WRITE;
    let backend = Backend::new(bql, "", perm, Perm::all()).expect("a backend");
    if let Some(node) = node {
        backend.insert(bql, node).expect("inserted");
    }
    backend
}

fn read(bql: &mut BqlGuard, backend: &Backend, offset: u64, buffer: &mut Buffer) {
    let read = backend.root().read(offset, buffer.destination());
    bql.block_on(read).expect("read");
}

/// Lets the main loop do what it was asked to do, however late its turn comes.
fn settle(bql: &mut BqlGuard) {
    for _ in 0..20 {
        bql.run_for(Duration::from_millis(1));
    }
}

#[test]
fn every_node_below_hears_of_a_buffer_once_and_requests_know_it() {
    in_layer(|bql| {
        let (base, below) = file(bql, "base");
        let (disk, disk_driver) = file(bql, "disk");
        let overlay = Knows {
            backing: true,
            ..Knows::default()
        };
        let image = [("file", &disk, Role::IMAGE), ("backing", &base, Role::COW)];
        let (top, driver) = open(bql, "top", overlay, &image);
        let (one, other) = (backend(bql, Some(&top)), backend(bql, Some(&base)));
        let mut buffer = Buffer::zeroed(4096);
        let mut plain = Buffer::zeroed(4096);
        let registered = one.register_buffer(bql, &buffer).expect("registered");
        let again = other.register_buffer(bql, &buffer).expect("registered");
        let all = [&below, &disk_driver, &driver];
        assert!(all.iter().all(|driver| driver.knows() == 1));
        assert_eq!(registered.memory().len(), 4096);
        let address = buffer.as_slice().as_ptr() as usize;
        assert_eq!(registered.memory().address(), address);

        read(bql, &one, 0, &mut buffer);
        assert_eq!(driver.counts(), (1, 0));
        read(bql, &one, 0, &mut plain);
        assert_eq!(driver.counts(), (1, 1));
        let write = one.root().write(0, buffer.source());
        bql.block_on(write).expect("written");
        assert_eq!(driver.counts(), (2, 1));

        RegisteredBuffer::end(registered, bql);
        assert_eq!((driver.knows(), disk_driver.knows()), (0, 0));
        assert_eq!(below.knows(), 1, "it is below the other backend still");
        read(bql, &one, 0, &mut buffer);
        assert_eq!(driver.counts(), (2, 2));
        drop(again);
        bql.block_on(async {});
        settle(bql);
        assert_eq!(below.knows(), 0, "dropping it does the same, later");
        assert!(
            all.iter()
                .all(|driver| driver.told.load(Ordering::Relaxed) == 1)
        );
    });
}

#[test]
fn a_bounce_buffer_is_not_registered() {
    in_layer(|bql| {
        let aligned = Knows {
            alignment: 512,
            ..Knows::default()
        };
        let (disk, driver) = open(bql, "disk", aligned, &[]);
        let backend = backend(bql, Some(&disk));
        let mut buffer = Buffer::zeroed(1024);
        let _registered = backend.register_buffer(bql, &buffer).expect("registered");
        read(bql, &backend, 0, &mut buffer);
        assert_eq!(driver.counts(), (1, 0));
        read(bql, &backend, 100, &mut buffer);
        assert_eq!(driver.counts(), (1, 1), "padded");
        // Reads what lies around, and writes it with the buffer in between.
        let write = backend.root().write(100, buffer.source());
        bql.block_on(write).expect("written");
        assert_eq!(driver.counts().0, 1);
    });
}

#[test]
fn what_comes_below_later_hears_of_it_before_the_first_request() {
    in_layer(|bql| {
        let (disk, disk_driver) = file(bql, "disk");
        let backend = backend(bql, None);
        let mut buffer = Buffer::zeroed(512);
        let registered = backend.register_buffer(bql, &buffer).expect("registered");
        assert_eq!(disk_driver.knows(), 0);
        backend.insert(bql, &disk).expect("inserted");
        assert_eq!(disk_driver.knows(), 1);

        let (top, filter_driver) = open(bql, "filter", filter(), &[]);
        disk.drain(bql).append(&top).expect("inserted");
        assert_eq!(filter_driver.knows(), 1);
        read(bql, &backend, 0, &mut buffer);
        assert_eq!(
            (filter_driver.counts(), disk_driver.counts()),
            ((1, 0), (1, 0))
        );

        // What is taken out forgets it; the node below does not hear of that.
        top.drain(bql).drop_filter().expect("removed");
        settle(bql);
        assert_eq!((filter_driver.knows(), disk_driver.knows()), (0, 1));
        assert_eq!(disk_driver.told.load(Ordering::Relaxed), 1);

        let (other, other_driver) = file(bql, "other");
        backend.replace(bql, &other).expect("replaced");
        settle(bql);
        assert_eq!((disk_driver.knows(), other_driver.knows()), (0, 1));
        read(bql, &backend, 0, &mut buffer);
        assert_eq!(other_driver.counts(), (1, 0));
        backend.remove(bql);
        settle(bql);
        assert_eq!(other_driver.knows(), 0);
        assert_eq!(registered.backend().root().name(), "");
    });
}

#[test]
fn a_driver_that_refuses_leaves_nobody_with_the_buffer() {
    in_layer(|bql| {
        let (disk, disk_driver) = file(bql, "disk");
        let below = [("file", &disk, Role::FILTERED | Role::PRIMARY)];
        let (top, top_driver) = open(bql, "top", filter(), &below);
        let backend = backend(bql, Some(&top));
        let buffer = Buffer::zeroed(512);
        disk_driver.refuses.store(true, Ordering::Relaxed);
        let refused = backend.register_buffer(bql, &buffer);
        assert!(refused.is_err(), "the file refuses");
        assert_eq!(top_driver.told.load(Ordering::Relaxed), 1);
        assert_eq!(top_driver.knows(), 0);
        assert!(!buffer.source().is_registered_at(top.io()));

        disk_driver.refuses.store(false, Ordering::Relaxed);
        let registered = backend.register_buffer(bql, &buffer).expect("registered");

        // A change of the graph that brings such a driver is undone.
        let (new, new_driver) = open(bql, "new", filter(), &[]);
        new_driver.refuses.store(true, Ordering::Relaxed);
        let refused = top.drain(bql).append(&new);
        assert!(refused.is_err(), "the filter refuses");
        assert_eq!(backend.node(bql).expect("a node"), top);
        assert_eq!(new.view(bql).children().count(), 0);
        assert_eq!((top_driver.knows(), disk_driver.knows()), (1, 1));
        let (other, other_driver) = file(bql, "other");
        other_driver.refuses.store(true, Ordering::Relaxed);
        assert!(backend.replace(bql, &other).is_err(), "it refuses");
        assert_eq!(backend.node(bql).expect("a node"), top);
        backend.remove(bql);
        assert!(backend.insert(bql, &other).is_err(), "it refuses");
        assert!(backend.node(bql).is_none());
        RegisteredBuffer::end(registered, bql);
        assert_eq!((top_driver.knows(), disk_driver.knows()), (0, 0));
    });
}

#[test]
fn a_driver_that_panics_leaves_nobody_with_the_buffer() {
    in_layer(|bql| {
        let (disk, disk_driver) = file(bql, "disk");
        let below = [("file", &disk, Role::FILTERED | Role::PRIMARY)];
        let (top, top_driver) = open(bql, "top", filter(), &below);
        let backend = backend(bql, Some(&top));
        let buffer = Buffer::zeroed(512);
        disk_driver.panics.store(true, Ordering::Relaxed);
        let attempt = std::panic::AssertUnwindSafe(|| backend.register_buffer(bql, &buffer));
        assert!(std::panic::catch_unwind(attempt).is_err());
        settle(bql);
        assert_eq!((top_driver.knows(), disk_driver.knows()), (0, 0));
    });
}

#[test]
fn memory_stays_and_nobody_forgets_it_under_a_request() {
    in_layer(|bql| {
        let slow = Knows {
            latency: Duration::from_millis(20),
            ..Knows::default()
        };
        let (disk, driver) = open(bql, "disk", slow, &[]);
        let (one, other) = (backend(bql, Some(&disk)), backend(bql, Some(&disk)));
        let mut buffer = Buffer::zeroed(512);
        let registered = one.register_buffer(bql, &buffer).expect("registered");
        let root = other.root().clone();
        let (done, reading) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let (told, started) = (Arc::clone(&done), Arc::clone(&reading));
        let task = other.root().spawn(async move {
            started.store(true, Ordering::Relaxed);
            root.read(0, buffer.destination()).await.expect("read");
            told.store(true, Ordering::Relaxed);
            drop(buffer);
        });
        while driver.busy.load(Ordering::Relaxed) == 0 {
            bql.run_for(Duration::from_millis(1));
        }
        assert!(reading.load(Ordering::Relaxed));
        let memory = registered.memory().clone();
        RegisteredBuffer::end(registered, bql);
        assert!(!memory.is_registered_at(disk.io()));
        assert_eq!(driver.disturbed.load(Ordering::Relaxed), 0);
        assert_eq!(driver.counts(), (1, 0));
        bql.block_on(task);
        assert!(done.load(Ordering::Relaxed));
    });
}

#[test]
fn a_node_that_is_closed_forgets_it_before() {
    let driver = in_layer(|bql| {
        let (disk, driver) = file(bql, "disk");
        let backend = backend(bql, Some(&disk));
        let buffer = Buffer::zeroed(512);
        let registered = backend.register_buffer(bql, &buffer).expect("registered");
        // Forgotten with the layer, and closed by it.
        std::mem::forget(registered);
        driver
    });
    assert_eq!(driver.knows(), 0);
}
