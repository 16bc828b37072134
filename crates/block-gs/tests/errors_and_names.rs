//! Error policies and events, the monitor's backends, root state, and the
//! rest of what a device does through its root.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use block_common::error::errno;
use block_gs::{
    Backend, BqlGuard, DetectZeroes, GraphError, IoThread, NodeOptions, Perm, backends,
    named_backends, next_backend, remove_all_media,
};
use block_io::accounting::Kind;
use block_io::{
    BackendEvent, BlockIoError, Buffer, CopyTarget, ErrorAction, IoError, IoStatus, Machine,
    OnError, Operation, StatusFlags, WriteFlags,
};
use common::{Mem, backend, in_layer, node, spin_until};

const READ: Perm = Perm::CONSISTENT_READ;
const BOTH: Perm = Perm::CONSISTENT_READ.union(Perm::WRITE);

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Log {
    fn add(&self, line: impl Into<String>) {
        self.0.lock().expect("no panic").push(line.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

impl Machine for Log {
    fn prepare_stop(&self) {
        self.add("prepare");
    }

    fn stop(&self) {
        self.add("stop");
    }
}

#[test]
fn an_error_in_an_iothread_is_noted_told_and_stops_the_machine_in_this_order() {
    in_layer(|bql| {
        let (node, _) = node(bql, "n", Mem::of(512));
        let disk = backend(bql, "disk", &node);
        let log: Arc<Log> = Arc::default();
        bql.events().set_machine(Some(log.clone()));
        let listener = log.clone();
        let _listening = bql.events().listen(move |event| {
            let BackendEvent::IoError(BlockIoError {
                qom_path,
                device,
                node_name,
                operation,
                action,
                nospace,
                reason,
            }) = event
            else {
                panic!("no tray here");
            };
            listener.add(format!(
                "{qom_path}|{device}|{node_name:?}|{operation}|{action}|{nospace:?}|{reason}"
            ));
        });
        let thread = IoThread::create(bql, "io0").expect("a thread");
        let root = disk.root().clone();
        let fail = |bql: &mut BqlGuard, operation: Operation, errno: i32| {
            let root = root.clone();
            let failed = thread.context().spawn(async move {
                let error = IoError::from_errno(errno);
                let action = root.action_for(operation, error.errno());
                root.error_action(action, operation, &error);
                action
            });
            bql.block_on(failed)
        };
        // By default reads are reported and writes wait for space; no status
        // is kept.
        let action = fail(bql, Operation::Read, errno::ENOSPC);
        assert_eq!(action, ErrorAction::Report);
        assert_eq!(
            log.take(),
            ["|disk|Some(\"n\")|read|report|None|No space left on device"]
        );
        let action = fail(bql, Operation::Write, errno::ENOSPC);
        assert_eq!(action, ErrorAction::Stop);
        assert_eq!(log.take().len(), 3);
        assert_eq!(root.io_status(), IoStatus::Ok);

        root.enable_io_status();
        root.set_on_error(OnError::Ignore, OnError::Stop);
        fail(bql, Operation::Write, errno::ENOSPC);
        assert_eq!(
            log.take(),
            [
                "prepare",
                "|disk|Some(\"n\")|write|stop|Some(true)|No space left on device",
                "stop"
            ]
        );
        assert_eq!(root.io_status(), IoStatus::NoSpace);
        fail(bql, Operation::Write, errno::EIO);
        assert_eq!(root.io_status(), IoStatus::NoSpace, "the first one stays");
        root.reset_io_status();
        fail(bql, Operation::Write, errno::EIO);
        assert_eq!(root.io_status(), IoStatus::Failed);
        assert_eq!(fail(bql, Operation::Read, errno::EIO), ErrorAction::Ignore);
        log.take();

        // Where nothing stops the machine there is no status.
        root.set_on_error(OnError::Report, OnError::Report);
        assert!(!root.keeps_io_status());
        disk.remove(bql);
        bql.events().set_machine(None);
        root.error_action(ErrorAction::Stop, Operation::Read, &IoError::NoMedium);
        assert_eq!(log.take(), ["|disk|None|read|stop|None|No medium inserted"]);
    });
}

#[test]
fn the_name_in_an_event_is_that_of_the_node_below_now() {
    in_layer(|bql| {
        let (one, _) = node(bql, "one", Mem::of(512));
        let (two, _) = node(bql, "two", Mem::of(512));
        let disk = backend(bql, "disk", &one);
        assert_eq!(disk.root().node_name().as_deref(), Some("one"));
        one.drain(bql).replace_with(&two).expect("replaced");
        assert_eq!(disk.root().node_name().as_deref(), Some("two"));
        let greedy = Backend::new(bql, "", Perm::empty(), Perm::empty()).expect("a backend");
        assert!(greedy.insert(bql, &two).is_err());
        assert_eq!(greedy.root().node_name(), None);
        disk.remove(bql);
        assert_eq!(disk.root().node_name(), None);
    });
}

#[test]
fn the_monitor_keeps_a_backend_until_it_is_removed_and_its_name_is_free() {
    in_layer(|bql| {
        let disk = Backend::new(bql, "disk", READ, Perm::all()).expect("a backend");
        let unnamed = Backend::new(bql, "", READ, Perm::all()).expect("a backend");
        disk.give_to_monitor(bql).expect("it has a name");
        assert!(unnamed.give_to_monitor(bql).is_err());
        assert_eq!(disk.references(), 2);
        let names: Vec<String> = named_backends(bql).map(|b| b.name().to_owned()).collect();
        assert_eq!(names, ["disk"]);
        assert_eq!(backends(bql).count(), 2);
        drop(disk);
        bql.poll(block_io::aio::Wait::No);
        let disk = Backend::find(bql, "disk").expect("the monitor keeps it");
        assert!(disk.is_monitor_owned(bql));
        let taken = Backend::new(bql, "disk", READ, Perm::all());
        assert!(matches!(taken, Err(GraphError::DuplicateBackend(_))));
        disk.take_from_monitor(bql);
        assert!(!disk.is_monitor_owned(bql));
        assert_eq!(named_backends(bql).count(), 0);
        assert!(Backend::find(bql, "disk").is_none());
        Backend::new(bql, "disk", READ, Perm::all()).expect("the name is free");
        assert_eq!(disk.name(), "disk");
    });
}

#[test]
fn a_walk_that_polls_meets_every_backend_once_and_none_that_is_gone() {
    in_layer(|bql| {
        let all: Vec<Backend> = ["a", "b", "c", "d"]
            .map(|name| Backend::new(bql, name, READ, Perm::all()).expect("a backend"))
            .into();
        let mut kept: Vec<Option<Backend>> = all.into_iter().map(Some).collect();
        let mut met = Vec::new();
        let mut last = None;
        while let Some(next) = next_backend(bql, last.as_ref()) {
            met.push(next.name().to_owned());
            if next.name() == "b" {
                // Where we stand, and the one after.
                kept[1] = None;
                kept[2] = None;
                bql.run_for(Duration::from_millis(1));
            }
            last = Some(next);
        }
        assert_eq!(met, ["a", "b", "d"]);
    });
}

#[test]
fn every_medium_goes_at_once() {
    in_layer(|bql| {
        let (node, _) = node(bql, "n", Mem::of(512));
        let fronts = ["a", "b"].map(|name| backend(bql, name, &node));
        remove_all_media(bql);
        assert!(fronts.iter().all(|front| front.node(bql).is_none()));
    });
}

#[test]
fn how_a_node_was_open_is_remembered_after_it_is_gone() {
    in_layer(|bql| {
        let options = NodeOptions {
            read_only: true,
            unmap: true,
            detect_zeroes: DetectZeroes::Unmap,
            ..NodeOptions::default()
        };
        let driver = Arc::new(Mem::of(512));
        let node = block_gs::NodeBuilder::new("n").options(options);
        let node = node.open(bql, driver).expect("opened");
        let disk = Backend::over(bql, "disk", &node, READ, Perm::all()).expect("a backend");
        assert_eq!(disk.root_state(bql), NodeOptions::default());
        disk.update_root_state(bql);
        disk.remove(bql);
        disk.update_root_state(bql);
        assert_eq!(disk.root_state(bql), options);
        assert_eq!(disk.open_options(bql), options);
        assert!(!disk.supports_write(bql));
        let refused = Backend::over(bql, "writer", &node, BOTH, Perm::all());
        assert!(refused.is_err());
        assert!(Backend::find(bql, "writer").is_none(), "nothing is left");
    });
}

#[test]
fn one_wrapper_waits_for_any_request_at_main_and_at_home() {
    in_layer(|bql| {
        let (node, driver) = node(bql, "n", Mem::of(8192));
        driver.bytes.lock().expect("no panic").fill(7);
        let disk = backend(bql, "disk", &node);
        let mut heard = Vec::new();
        disk.wait(bql, async |root| {
            root.make_zero(WriteFlags::empty(), |done, of| heard.push((done, of)))
                .await
        })
        .expect("zeroed");
        assert_eq!(heard, [(8192, 8192)]);
        assert!(
            driver
                .bytes
                .lock()
                .expect("no panic")
                .iter()
                .all(|b| *b == 0)
        );

        let thread = IoThread::create(bql, "io0").expect("a thread");
        let here = Arc::new(Mutex::new(None));
        let (answer, asked, main) = (here.clone(), disk.clone(), bql.main_loop());
        thread.context().schedule(move |home| {
            let geometry = asked.wait(home, async |root| Ok(root.geometry().await));
            *answer.lock().expect("no panic") = Some(geometry);
            main.kick();
        });
        spin_until(bql, || here.lock().expect("no panic").is_some());
        let refused = here.lock().expect("no panic").take();
        assert!(refused.expect("answered").is_err(), "not its home");

        disk.set_allow_context_change(bql, true);
        disk.set_iothread(bql, Some(&thread)).expect("moved");
        let (answer, asked, main) = (here.clone(), disk.clone(), bql.main_loop());
        thread.context().schedule(move |home| {
            let geometry = asked.wait(home, async |root| Ok(root.geometry().await));
            *answer.lock().expect("no panic") = Some(geometry);
            main.kick();
        });
        spin_until(bql, || here.lock().expect("no panic").is_some());
        let answered = here.lock().expect("no panic").take();
        assert_eq!(answered.expect("answered").expect("home"), 16);
    });
}

#[test]
fn a_cancelled_request_is_waited_for_or_not() {
    in_layer(|bql| {
        let slow = Mem::slow(512, Duration::from_secs(3600));
        let (node, _) = node(bql, "slow", slow);
        let disk = Backend::over(bql, "disk", &node, READ, Perm::all()).expect("a backend");
        let thread = IoThread::create(bql, "io0").expect("a thread");
        disk.set_allow_context_change(bql, true);
        disk.set_iothread(bql, Some(&thread)).expect("moved");
        let read = |disk: &Backend| {
            let root = disk.root().clone();
            disk.root().spawn(async move {
                let mut buffer = Buffer::zeroed(512);
                root.read(0, buffer.destination()).await
            })
        };
        let (one, two) = (read(&disk), read(&disk));
        let root = disk.root().clone();
        spin_until(bql, || root.in_flight() == 2);
        let outcome = disk.cancel(bql, one).expect("main may wait");
        assert!(outcome.is_none());
        assert_eq!(root.in_flight(), 1, "it has ended when we know");
        two.cancel_async();
        spin_until(bql, || root.in_flight() == 0);
    });
}

#[test]
fn a_device_sees_limits_status_and_what_it_may_do() {
    in_layer(|bql| {
        let (node, _) = node(bql, "n", Mem::of(1000));
        let disk = backend(bql, "disk", &node);
        let root = disk.root().clone();
        bql.block_on(async {
            assert_eq!(root.sectors().await?, 2);
            assert_eq!(root.geometry().await, 2);
            assert!(root.is_writable().await);
            let limits = root.limits().await;
            assert_eq!(limits.requests.request_alignment, 1);
            assert_eq!(limits.guest_max_transfer, limits.requests.max_transfer);
            let status = root.block_status_above(None, 0, 4096).await?;
            assert_eq!((status.bytes, status.depth), (1000, 1));
            assert!(status.flags.contains(StatusFlags::DATA | StatusFlags::EOF));
            let status = root.is_allocated_above(None, 0, 10).await?;
            assert_eq!((status.bytes, status.depth), (10, 1));
            let base = node.io();
            let status = root.is_allocated_above(Some(base), 0, 10).await?;
            assert_eq!(status.depth, 0, "the base is not asked");
            let buffer = Buffer::zeroed(16);
            let saved = root.save_vmstate(0, buffer.source()).await;
            assert!(matches!(saved, Err(IoError::NotSupported)));
            let zones = root.zones(0, 1).await;
            assert!(matches!(zones, Err(IoError::NotSupported)));
            let appended = root.append_to_zone(2000, buffer.source()).await;
            assert!(matches!(appended, Err(IoError::BeyondEnd { .. })));
            let compressed = root.write_compressed(0, buffer.source()).await;
            assert!(matches!(compressed, Err(IoError::NotSupported)));
            Ok::<_, IoError>(())
        })
        .expect("no error");
        assert!(disk.probe_block_sizes(bql).is_none());
        assert!(disk.probe_geometry(bql).is_none());
        assert!(disk.make_empty(bql).is_err(), "the driver cannot");
        disk.remove(bql);
        let error = disk.make_empty(bql).expect_err("nothing to empty");
        assert_eq!(error.errno(), errno::ENOMEDIUM);
        bql.block_on(async {
            assert_eq!(root.geometry().await, 0);
            assert!(!root.is_writable().await);
            assert_eq!(root.limits().await.requests.request_alignment, 512);
            let status = root.block_status_above(None, 0, 1).await;
            assert!(matches!(status, Err(IoError::NoMedium)));
        });
    });
}

#[test]
fn a_copy_needs_both_ends_and_stays_inside_them() {
    in_layer(|bql| {
        let (one, _) = node(bql, "one", Mem::of(4096));
        let (two, _) = node(bql, "two", Mem::of(1024));
        let (from, to) = (backend(bql, "from", &one), backend(bql, "to", &two));
        let copy = |bql: &mut BqlGuard, offset, bytes| {
            let target = CopyTarget {
                root: to.root(),
                offset,
            };
            let copy = from
                .root()
                .copy_range(0, target, bytes, WriteFlags::empty());
            bql.block_on(copy)
        };
        let inside = copy(bql, 0, 1024);
        assert!(matches!(inside, Err(IoError::NotSupported)), "{inside:?}");
        let beyond = copy(bql, 1, 1024);
        assert!(matches!(beyond, Err(IoError::BeyondEnd { .. })));
        // While the target is drained, the source is not held up.
        let section = two.drain(bql);
        let (source, target) = (from.root().clone(), to.root().clone());
        let waiting = section.context().spawn(async move {
            let target = CopyTarget {
                root: &target,
                offset: 0,
            };
            source.copy_range(0, target, 512, WriteFlags::empty()).await
        });
        section.end();
        let mut section = two.drain(bql);
        section.also(&one).end();
        section.end();
        let outcome = bql.block_on(waiting);
        assert!(matches!(outcome, Err(IoError::NotSupported)));
    });
}

#[test]
fn a_device_accounts_for_what_it_takes_from_its_guest() {
    in_layer(|bql| {
        let (node, _) = node(bql, "n", Mem::of(512));
        let disk = backend(bql, "disk", &node);
        let root = disk.root().clone();
        let served = root.clone();
        let device = bql.context().spawn(async move {
            let buffer = Buffer::zeroed(512);
            for offset in [0, 1] {
                let counted = served.statistics().start(Kind::Write, 512);
                let outcome = served.write(offset, buffer.source()).await;
                counted.end_with(&outcome);
            }
        });
        bql.block_on(device);
        let totals = root.statistics().totals(Kind::Write);
        assert_eq!((totals.operations, totals.failed), (1, 1));
        assert_eq!(totals.bytes, 512);
        // Requests that no device takes are not counted.
        let flush = root.flush();
        bql.block_on(flush).expect("flushed");
        assert_eq!(root.statistics().totals(Kind::Flush).operations, 0);
    });
}
