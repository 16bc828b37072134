//! Devices of backends: what they are asked and told, and by whom.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use block_common::error::errno;
use block_gs::{
    Backend, BqlGuard, DeviceOps, DrainedBackend, GraphError, IoThread, Perm, RemovableOps,
    drain_all, tell_resized,
};
use block_io::aio::yield_now;
use block_io::{
    BackendEvent, Buffer, DeviceIdentity, DeviceIo, DeviceTrayMoved, IoError, Preallocation,
};
use common::{Mem, backend, filter, in_layer, node, spin_until};

const READ: Perm = Perm::CONSISTENT_READ;

/// A CD-ROM drive, or with `tray` false a disk.
#[derive(Default)]
struct Cd {
    tray: bool,
    open: AtomicBool,
    locked: AtomicBool,
    refuses: AtomicBool,
    loads: AtomicUsize,
    ejects: AtomicUsize,
    removals: AtomicUsize,
    resized: AtomicUsize,
    /// Begins minus ends of drained sections.
    drained: AtomicI32,
    begins: AtomicUsize,
    /// How often it still says that it is busy.
    busy: AtomicI32,
}

impl DeviceIo for Cd {
    fn is_tray_open(&self) -> Option<bool> {
        self.tray.then(|| self.open.load(Ordering::Relaxed))
    }

    fn resized(&self) {
        self.resized.fetch_add(1, Ordering::Relaxed);
    }
}

impl DeviceOps for Cd {
    fn removable(&self) -> Option<&dyn RemovableOps> {
        self.tray.then_some(self)
    }

    fn drained_begin(&self, _bql: &BqlGuard) {
        self.drained.fetch_add(1, Ordering::Relaxed);
        self.begins.fetch_add(1, Ordering::Relaxed);
    }

    fn drained_poll(&self, bql: &BqlGuard) -> bool {
        let busy = self.busy.fetch_sub(1, Ordering::Relaxed) > 0;
        if busy {
            bql.main_loop().kick();
        }
        busy
    }

    fn drained_end(&self, _bql: &BqlGuard) {
        self.drained.fetch_sub(1, Ordering::Relaxed);
    }

    fn removing_medium(&self, _bql: &BqlGuard) {
        self.removals.fetch_add(1, Ordering::Relaxed);
    }
}

impl RemovableOps for Cd {
    fn change_media(&self, _bql: &mut BqlGuard, load: bool) -> Result<(), GraphError> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(GraphError::ReadOnly);
        }
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.open.store(!load, Ordering::Relaxed);
        Ok(())
    }

    fn eject_request(&self, _bql: &mut BqlGuard, force: bool) {
        if force {
            self.locked.store(false, Ordering::Relaxed);
        }
        self.ejects.fetch_add(1, Ordering::Relaxed);
    }

    fn is_medium_locked(&self, _bql: &BqlGuard) -> bool {
        self.locked.load(Ordering::Relaxed)
    }
}

fn cd() -> Arc<Cd> {
    Arc::new(Cd {
        tray: true,
        ..Cd::default()
    })
}

fn identity(id: &str) -> DeviceIdentity {
    DeviceIdentity {
        id: id.to_owned(),
        path: format!("/machine/{id}"),
    }
}

fn empty(bql: &mut BqlGuard, name: &str) -> Backend {
    Backend::new(bql, name, READ, Perm::all()).expect("a backend")
}

#[test]
fn one_device_at_a_time_and_what_it_wanted_goes_with_it() {
    in_layer(|bql| {
        let (node, _) = node(bql, "n", Mem::of(512));
        let disk = backend(bql, "disk", &node);
        let device = cd();
        let attached = disk
            .attach_device(bql, identity("cd0"), device.clone())
            .expect("free");
        let refused = disk.attach_device(bql, identity("cd1"), cd());
        let error = refused.expect_err("taken");
        assert_eq!(
            error.to_string(),
            "Drive 'disk' is already in use by another device"
        );
        assert_eq!(error.errno(), errno::EBUSY);
        let ops: Arc<dyn DeviceOps> = device;
        assert!(Backend::by_device(bql, &ops).is_some());
        for name in ["cd0", "/machine/cd0"] {
            let found = Backend::by_device_id(bql, name).expect("attached");
            assert_eq!(found.name(), "disk");
        }
        for name in ["", "cd1"] {
            let error = Backend::by_device_id(bql, name).expect_err("not attached");
            assert_eq!(error.to_string(), format!("Device '{name}' not found"));
        }
        assert_eq!(disk.root().device_id(), "cd0");
        attached.detach(bql);
        assert!(disk.device(bql).is_none());
        assert!(Backend::by_device(bql, &ops).is_none());
        assert_eq!(disk.root().device_id(), "");
        assert_eq!(disk.perms(bql).perm, Perm::empty());
        // Dropping does it too, some time, and only for its own device.
        drop(
            disk.attach_device(bql, identity("cd1"), cd())
                .expect("free"),
        );
        let attached = disk
            .attach_device(bql, identity("cd2"), cd())
            .expect("free");
        assert_eq!(attached.backend().root().device_id(), "cd2");
    });
}

#[test]
fn an_attachment_keeps_its_backend() {
    in_layer(|bql| {
        let attached = empty(bql, "cd")
            .attach_device(bql, identity("cd0"), cd())
            .expect("free");
        spin_once(bql);
        assert!(Backend::find(bql, "cd").is_some());
        attached.detach(bql);
        spin_once(bql);
        assert!(Backend::find(bql, "cd").is_none());
    });
}

fn spin_once(bql: &mut BqlGuard) {
    bql.poll(block_io::aio::Wait::No);
}

#[test]
fn a_device_hears_once_of_any_number_of_sections_and_is_waited_for() {
    in_layer(|bql| {
        let (node, _) = node(bql, "n", Mem::of(512));
        let disk = backend(bql, "disk", &node);
        let device = cd();
        let attached = disk.attach_device(bql, identity("cd0"), device.clone());
        let attached = attached.expect("free");
        device.busy.store(3, Ordering::Relaxed);
        let mut outer = node.drain(bql);
        assert!(device.busy.load(Ordering::Relaxed) <= 0, "was asked again");
        let inner = outer.also(&node);
        assert_eq!(device.drained.load(Ordering::Relaxed), 1);
        drop(inner);
        assert_eq!(device.drained.load(Ordering::Relaxed), 1);
        drop(outer);
        assert_eq!(device.drained.load(Ordering::Relaxed), 0);

        let section = drain_all(bql);
        assert_eq!(device.drained.load(Ordering::Relaxed), 1);
        drop(section);
        let section = disk.drain(bql);
        assert_eq!(device.drained.load(Ordering::Relaxed), 1);
        drop(section);
        assert_eq!(device.drained.load(Ordering::Relaxed), 0);
        assert_eq!(device.begins.load(Ordering::Relaxed), 3);
        attached.detach(bql);
        node.drain(bql).end();
        assert_eq!(device.begins.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn a_device_that_comes_in_a_section_is_told_and_one_whose_medium_goes_goes_on() {
    in_layer(|bql| {
        let (node, _) = node(bql, "n", Mem::of(512));
        let disk = backend(bql, "disk", &node);
        let device = cd();
        let mut section = drain_all(bql);
        let attached = section.with(|bql| {
            disk.attach_device(bql, identity("cd0"), device.clone())
                .expect("free")
        });
        assert_eq!(device.drained.load(Ordering::Relaxed), 1);
        // Without its node the backend has no reason to be quiesced.
        section.with(|bql| disk.remove(bql));
        assert_eq!(device.removals.load(Ordering::Relaxed), 1);
        assert_eq!(device.drained.load(Ordering::Relaxed), 0);
        section.with(|bql| disk.insert(bql, &node)).expect("free");
        assert_eq!(device.drained.load(Ordering::Relaxed), 1);
        section.end();
        assert_eq!(device.drained.load(Ordering::Relaxed), 0);
        drop(attached);
    });
}

#[test]
fn listeners_hear_where_a_tray_goes_from_whichever_thread() {
    in_layer(|bql| {
        let cd0 = empty(bql, "cd");
        let device = cd();
        let attached = cd0.attach_device(bql, identity("dev"), device.clone());
        let _attached = attached.expect("free");
        let heard: Arc<Mutex<Vec<(String, bool)>>> = Arc::default();
        let log = Arc::clone(&heard);
        let listening = bql.events().listen(move |event| {
            let BackendEvent::TrayMoved(DeviceTrayMoved {
                device,
                id,
                tray_open,
            }) = event
            else {
                panic!("no request has failed");
            };
            assert_eq!(device, "cd");
            log.lock().expect("no panic").push((id.clone(), *tray_open));
        });
        let said = |heard: &Mutex<Vec<_>>| std::mem::take(&mut *heard.lock().expect("no panic"));
        let moved = |open| vec![("dev".to_owned(), open)];

        cd0.change_media(bql, false).expect("never refused");
        assert_eq!(said(&heard), moved(true));
        cd0.change_media(bql, false).expect("never refused");
        assert_eq!(said(&heard), [], "it was open");
        assert!(cd0.root().is_tray_open() && cd0.root().has_tray());
        device.refuses.store(true, Ordering::Relaxed);
        cd0.change_media(bql, false).expect("never refused");
        let refused = cd0.change_media(bql, true);
        assert!(matches!(refused, Err(GraphError::ReadOnly)));
        assert_eq!(said(&heard), []);

        // The guest, in its thread, has no proof and needs none.
        let thread = IoThread::create(bql, "io0").expect("a thread");
        let root = cd0.root().clone();
        let eject = thread
            .context()
            .spawn(async move { root.eject(false).await });
        bql.block_on(eject).expect("no medium is no error");
        assert_eq!(said(&heard), moved(false));

        drop(listening);
        device.refuses.store(false, Ordering::Relaxed);
        let loads = device.loads.load(Ordering::Relaxed);
        Backend::change_media(&cd0, bql, true).expect("loaded");
        assert_eq!(said(&heard), []);
        assert_eq!(device.loads.load(Ordering::Relaxed), loads + 1);
        assert!(!cd0.root().is_tray_open());
    });
}

#[test]
fn what_the_user_asks_of_media_reaches_devices_that_have_some() {
    in_layer(|bql| {
        let drive = empty(bql, "cd");
        assert!(drive.has_removable_media(bql), "nothing is in the way");
        let device = cd();
        let attached = drive.attach_device(bql, identity("cd0"), device.clone());
        let attached = attached.expect("free");
        device.locked.store(true, Ordering::Relaxed);
        assert!(drive.is_medium_locked(bql));
        drive.request_eject(bql, true);
        assert!(!drive.is_medium_locked(bql));
        assert_eq!(device.ejects.load(Ordering::Relaxed), 1);
        attached.detach(bql);

        let disk: Arc<Cd> = Arc::default();
        let attached = drive.attach_device(bql, identity("disk0"), disk.clone());
        let _attached = attached.expect("free");
        assert!(!drive.has_removable_media(bql));
        assert!(!drive.root().has_tray() && !drive.root().is_tray_open());
        drive.request_eject(bql, true);
        drive.change_media(bql, true).expect("nothing happens");
        assert!(!drive.is_medium_locked(bql));
        assert_eq!(disk.loads.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_medium_is_available_while_the_tray_is_closed() {
    in_layer(|bql| {
        let drive = empty(bql, "cd");
        let device = cd();
        let attached = drive.attach_device(bql, identity("cd0"), device.clone());
        let _attached = attached.expect("free");
        let root = drive.root().clone();
        assert!(!bql.block_on(root.is_inserted()));
        let (node, _) = node(bql, "n", Mem::of(512));
        let (top, _) = filter(bql, "top", &node);
        drive.insert(bql, &top).expect("free");
        assert!(bql.block_on(root.is_inserted()));
        assert!(bql.block_on(root.is_available()));
        device.open.store(true, Ordering::Relaxed);
        assert!(bql.block_on(root.is_inserted()));
        assert!(!bql.block_on(root.is_available()));
        bql.block_on(root.lock_medium(true))
            .expect("no drive of the host");
    });
}

#[test]
fn a_device_hears_that_its_node_has_another_length() {
    in_layer(|bql| {
        let options = block_drivers::NullCo::new(1 << 20);
        let node = options.open(bql, "n").expect("a node");
        let (top, _) = filter(bql, "top", &node);
        let perm = Perm::RESIZE | Perm::WRITE;
        let disk = Backend::over(bql, "disk", &top, perm, Perm::all()).expect("a backend");
        let device: Arc<Cd> = Arc::default();
        let attached = disk.attach_device(bql, identity("d0"), device.clone());
        let _attached = attached.expect("free");
        // Refused: nothing has changed.
        let to = Preallocation::Off;
        let refused = disk.wait(bql, async |root| root.truncate(512, true, to).await);
        assert!(refused.is_err());
        assert_eq!(device.resized.load(Ordering::Relaxed), 0);
        tell_resized(bql, &node);
        assert_eq!(device.resized.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_backend_without_a_medium_is_drained_and_later_requests_wait() {
    in_layer(|bql| {
        let front = empty(bql, "front");
        let thread = IoThread::create(bql, "io0").expect("a thread");
        front.set_iothread(bql, Some(&thread)).expect("moved");
        let mut section: DrainedBackend<'_> = front.drain(bql);
        assert_eq!(front.root().quiesce_count(), 1);
        let root = front.root().clone();
        let read = front.root().spawn(async move {
            let mut buffer = Buffer::zeroed(512);
            root.read(0, buffer.destination()).await
        });
        // A medium that comes in the section is found by what waits for it.
        let inserted = section.with(|bql| {
            let (node, _) = node(bql, "n", Mem::of(512));
            front.insert(bql, &node)
        });
        inserted.expect("free");
        assert!(!read.is_finished());
        assert_eq!(section.backend().root().quiesce_count(), 1);
        section.end();
        bql.block_on(read).expect("the medium is there");
    });
}

/// QEMU clears the pointer to the root after the section over it has ended, and
/// a request reads that pointer twice.
#[test]
fn a_medium_that_goes_is_there_for_the_whole_of_a_request_or_not_at_all() {
    in_layer(|bql| {
        let thread = IoThread::create(bql, "io0").expect("a thread");
        let (node, driver) = node(bql, "n", Mem::of(512));
        driver.bytes.lock().expect("no panic").fill(7);
        let disk = backend(bql, "disk", &node);
        disk.set_iothread(bql, Some(&thread)).expect("moved");
        let [stop, read, refused] = [0; 3].map(|count| Arc::new(AtomicUsize::new(count)));
        let counts = (stop.clone(), read.clone(), refused.clone());
        let root = disk.root().clone();
        let device = thread.context().spawn(async move {
            let (stop, read, refused) = counts;
            while stop.load(Ordering::Relaxed) == 0 {
                let mut buffer = Buffer::zeroed(512);
                let outcome = root.read(0, buffer.destination()).await;
                let count = match outcome {
                    Ok(()) if buffer.as_slice() == [7; 512] => &read,
                    Err(IoError::NoMedium) => &refused,
                    other => return Err(other),
                };
                count.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
            Ok(())
        });
        for _ in 0..100 {
            let grows = |bql: &mut BqlGuard, count: &AtomicUsize| {
                let before = count.load(Ordering::Relaxed);
                let has_grown = || count.load(Ordering::Relaxed) > before;
                spin_until(bql, || has_grown() || device.is_finished());
            };
            grows(bql, &read);
            disk.remove(bql);
            grows(bql, &refused);
            disk.insert(bql, &node).expect("free");
        }
        stop.store(1, Ordering::Relaxed);
        bql.block_on(device).expect("all of it, or no medium");
    });
}

#[test]
fn sections_over_everything_close_backends_without_a_medium_and_nest() {
    in_layer(|bql| {
        let first = empty(bql, "first");
        let mut outer = drain_all(bql);
        let second = outer.with(|bql| empty(bql, "second"));
        let inner = outer.with(|bql| {
            let inner = drain_all(bql);
            let counts = [&first, &second].map(|front| front.root().quiesce_count());
            inner.end();
            counts
        });
        assert_eq!(inner, [2, 1]);
        assert_eq!(first.root().quiesce_count(), 1);
        assert_eq!(second.root().quiesce_count(), 0);
        // What is parked at a backend that goes away hears that nothing is left.
        let root = first.root().clone();
        let flush = outer.context().spawn(async move { root.flush().await });
        drop(first);
        let outcome = outer.with(|bql| bql.block_on(flush));
        assert!(matches!(outcome, Err(IoError::NoMedium)));
        outer.end();
    });
}

/// Panics when it may go on.
struct Sore;

impl DeviceIo for Sore {}

impl DeviceOps for Sore {
    fn drained_end(&self, _bql: &BqlGuard) {
        panic!("sore");
    }
}

#[test]
fn a_device_that_panics_leaves_nothing_quiesced() {
    in_layer(|bql| {
        let (node, driver) = node(bql, "n", Mem::of(512));
        let disk = backend(bql, "disk", &node);
        let sore = empty(bql, "sore");
        let other = empty(bql, "other");
        let heard: Arc<Cd> = Arc::default();
        let attached = [
            sore.attach_device(bql, identity("sore"), Arc::new(Sore)),
            other.attach_device(bql, identity("other"), heard.clone()),
        ];
        assert!(attached.iter().all(Result::is_ok));
        let section = drain_all(bql);
        assert_eq!(heard.drained.load(Ordering::Relaxed), 1);
        let ended = catch_unwind(AssertUnwindSafe(|| section.end()));
        assert!(ended.is_err());
        assert_eq!(heard.drained.load(Ordering::Relaxed), 0);
        assert_eq!(driver.drained.load(Ordering::Relaxed), 0);
        for front in [&disk, &sore, &other] {
            assert_eq!(front.root().quiesce_count(), 0);
        }
    });
}

#[test]
fn requests_under_one_count_are_never_parked() {
    // What QEMU's jobs turn the queue of their backend off for.
    in_layer(|bql| {
        let (node, driver) = node(bql, "n", Mem::of(4096));
        let disk = backend(bql, "disk", &node);
        let steps = Arc::new(AtomicUsize::new(0));
        let (root, done) = (disk.root().clone(), Arc::clone(&steps));
        let job = bql.context().spawn(async move {
            let in_flight = root.begin().await;
            done.store(1, Ordering::Relaxed);
            // Not before the section has begun to open.
            while root.quiesce_count() == 0 {
                block_io::aio::yield_now().await;
            }
            let mut buffer = Buffer::zeroed(512);
            for _ in 0..3 {
                let request = in_flight.request()?;
                request.read(0, buffer.destination()).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, IoError>(())
        });
        let begun = Arc::clone(&steps);
        spin_until(bql, move || begun.load(Ordering::Relaxed) == 1);
        let section = node.drain(bql);
        assert_eq!(steps.load(Ordering::Relaxed), 4);
        assert_eq!(driver.reads.load(Ordering::Relaxed), 3);
        section.end();
        bql.block_on(job).expect("no error");
    });
}
