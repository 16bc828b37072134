//! Drivers that are reopened: files with their locks, windows, groups.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use block_common::error::errno;
use block_drivers::file::FileSettings;
use block_drivers::{
    CopyOnRead, File, NullCo, Raw, RawSettings, Throttle, ThrottleConfig, ThrottleGroup,
};
use block_gs::{
    Backend, BlockDriver, BqlGuard, Drained, GraphError, IoThread, Node, NodeBuilder, NodeOptions,
    Perm, PreparedReopen, ReopenOptions, ReopenTo, Role,
};
use block_io::aio::sleep;
use block_io::{Buffer, Destination, DriverIo, IoFuture, Request, Source, WriteFlags};

use crate::support::{READ_WRITE, Tool, backend, disk, flush, in_layer, read, write};

const ALL: Perm = Perm::all();

const BUFFERED: FileSettings = FileSettings {
    direct: false,
    auto_read_only: false,
};

const DIRECT: FileSettings = FileSettings {
    direct: true,
    ..BUFFERED
};

const AUTO: FileSettings = FileSettings {
    auto_read_only: true,
    ..BUFFERED
};

fn with<S: Send + 'static>(bql: &BqlGuard, node: &Node, settings: S) -> ReopenOptions {
    ReopenOptions::new(node.view(bql).options()).settings(settings)
}

fn reopen<S: Send + 'static>(
    bql: &mut BqlGuard,
    node: &Node,
    settings: S,
) -> Result<(), GraphError> {
    let options = with(bql, node, settings);
    node.drain(bql).reopen(options)
}

/// A reader that lets others read only.
fn jealous(bql: &mut BqlGuard, node: &Node) -> Result<Backend, GraphError> {
    let backend = Backend::new(bql, "", Perm::CONSISTENT_READ, ALL - Perm::WRITE)?;
    backend.insert(bql, node)?;
    Ok(backend)
}

fn image(directory: &Path) -> std::path::PathBuf {
    let path = directory.join("image");
    fs::write(&path, vec![7; 1 << 16]).expect("written");
    path
}

#[test]
fn a_file_becomes_writable_and_read_only_again() {
    in_layer(|bql, directory| {
        let path = image(directory.path());
        let node = File::new(&path)
            .read_only(true)
            .open(bql, "node")
            .expect("opened");
        let reader = backend(bql, &node, Perm::CONSISTENT_READ).expect("nobody objects");
        let _ = reader
            .set_perm(bql, READ_WRITE, ALL)
            .expect_err("read-only");

        node.set_read_only(bql, false).expect("it can be written");
        reader.set_perm(bql, READ_WRITE, ALL).expect("writable");
        write(bql, &reader, 512, b"written").expect("written");
        let error = node
            .set_read_only(bql, true)
            .expect_err("there is a writer");
        assert!(
            matches!(error, GraphError::ReadOnlyWithWriters(_)),
            "{error}"
        );
        write(bql, &reader, 519, b", twice").expect("written");

        reader
            .set_perm(bql, Perm::CONSISTENT_READ, ALL)
            .expect("less");
        node.set_read_only(bql, true).expect("nobody writes");
        assert_eq!(
            read(bql, &reader, 512, 14).expect("read"),
            b"written, twice"
        );
        assert_eq!(&fs::read(&path).expect("read")[512..526], b"written, twice");
        let _ = reader
            .set_perm(bql, READ_WRITE, ALL)
            .expect_err("read-only");
    });
}

#[test]
fn a_file_that_cannot_be_written_stays_what_it_is() {
    in_layer(|bql, directory| {
        let path = image(directory.path());
        let node = File::new(&path)
            .read_only(true)
            .open(bql, "node")
            .expect("opened");
        let reader = disk_of_reader(bql, &node);
        fs::remove_file(&path).expect("removed");
        let error = node.set_read_only(bql, false).expect_err("it is gone");
        let name = path.display();
        let text = format!("Could not open '{name}': No such file or directory");
        assert_eq!(error.to_string(), text);
        fs::write(&path, vec![8; 1 << 16]).expect("written");
        let error = node.set_read_only(bql, false).expect_err("another one");
        let text = format!("Could not open '{name}': Stale file handle");
        assert_eq!(error.to_string(), text);
        assert!(!node.view(bql).is_writable());
        assert_eq!(read(bql, &reader, 0, 4).expect("read"), [7; 4]);
    });
}

fn disk_of_reader(bql: &mut BqlGuard, node: &Node) -> Backend {
    backend(bql, node, Perm::CONSISTENT_READ).expect("nobody objects")
}

#[test]
fn at_no_time_is_the_file_without_its_locks() {
    in_layer(|bql, directory| {
        let path = image(directory.path());
        let node = File::new(&path)
            .read_only(true)
            .open(bql, "node")
            .expect("opened");
        let other = File::new(&path).open(bql, "other").expect("opened");
        let mine = jealous(bql, &node).expect("alone");
        let refused = |bql: &mut BqlGuard| {
            let error = backend(bql, &other, READ_WRITE).expect_err("not shared");
            assert_eq!(error.to_string(), "Failed to get \"write\" lock");
        };
        refused(bql);
        node.set_read_only(bql, false).expect("it can be written");
        refused(bql);
        reopen(
            bql,
            &node,
            FileSettings {
                auto_read_only: true,
                ..BUFFERED
            },
        )
        .expect("as well");
        refused(bql);
        node.set_read_only(bql, true).expect("nobody writes");
        refused(bql);
        // What was asked for meanwhile is said by the new descriptor.
        node.set_read_only(bql, false).expect("it can be written");
        mine.set_perm(bql, READ_WRITE, ALL - Perm::WRITE)
            .expect("alone");
        refused(bql);
        mine.remove(bql);
        let writer = backend(bql, &other, READ_WRITE).expect("alone");
        let error = jealous(bql, &node).expect_err("there is a writer");
        assert_eq!(error.to_string(), "Failed to get shared \"write\" lock");
        writer.remove(bql);
    });
}

#[test]
fn a_reopen_that_is_refused_leaves_the_locks_that_there_were() {
    in_layer(|bql, directory| {
        let path = image(directory.path());
        let node = File::new(&path)
            .read_only(true)
            .open(bql, "node")
            .expect("opened");
        let null = NullCo::new(512).open(bql, "null").expect("opened");
        let filter = CopyOnRead::over(&null).open(bql, "filter").expect("opened");
        let other = File::new(&path).open(bql, "other").expect("opened");
        let mine = jealous(bql, &node).expect("alone");
        // The second one cannot be reopened at all.
        let options = |node: &Node, bql: &BqlGuard| {
            ReopenOptions::new(NodeOptions {
                read_only: false,
                ..node.view(bql).options()
            })
        };
        let (first, second) = (options(&node, bql), options(&filter, bql));
        let mut section = node.drain(bql);
        let mut changes = section.transaction();
        changes.reopen(first);
        changes.at(&filter).reopen(second);
        let error = changes.commit().expect_err("a filter that cannot");
        section.end();
        let text =
            "Block format 'copy-on-read' used by node 'filter' does not support reopening files";
        assert_eq!(error.to_string(), text);
        let _ = backend(bql, &other, READ_WRITE).expect_err("not shared");
        mine.remove(bql);
        backend(bql, &other, READ_WRITE).expect("the lock is gone with its owner");
    });
}

/// Shows its file, and can be reopened.
struct Format {
    /// It does something that takes a while before it is, and says when.
    waits: Option<Arc<AtomicBool>>,
}

impl DriverIo for Format {
    fn read<'r>(&'r self, request: Request<'r>, at: u64, into: Destination<'r>) -> IoFuture<'r> {
        match request.file() {
            Ok(file) => file.read(at, into),
            Err(error) => IoFuture::failed(error),
        }
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        at: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        match request.file() {
            Ok(file) => file.write_with(at, from, flags),
            Err(error) => IoFuture::failed(error),
        }
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(1 << 16))
    }
}

impl BlockDriver for Format {
    fn format_name(&self) -> &'static str {
        "format"
    }

    fn reopens(&self) -> bool {
        true
    }

    fn reopen_prepare(
        &self,
        section: &mut Drained<'_>,
        _to: &ReopenTo<'_>,
    ) -> Result<Box<dyn PreparedReopen>, GraphError> {
        if let Some(waits) = &self.waits {
            waits.store(true, Ordering::Relaxed);
            section.io(async |_: Request<'_>| sleep(Duration::from_millis(50)).await);
        }
        Ok(Box::new(()))
    }
}

fn writable(bql: &BqlGuard, node: &Node) -> ReopenOptions {
    ReopenOptions::new(NodeOptions {
        read_only: false,
        ..node.view(bql).options()
    })
}

/// Its users want more of it from the very moment on in which it is writable.
#[test]
fn a_file_is_not_kept_from_its_new_users_by_its_own_locks() {
    in_layer(|bql, directory| {
        let path = image(directory.path());
        let file = File::new(&path).read_only(true).open(bql, "file");
        let file = file.expect("opened");
        let options = NodeOptions {
            read_only: true,
            ..NodeOptions::default()
        };
        let format = NodeBuilder::new("format")
            .options(options)
            .child("file", &file, Role::IMAGE)
            .open(bql, Arc::new(Format { waits: None }))
            .expect("opened");
        let other = File::new(&path).open(bql, "other").expect("opened");
        let mine = backend(bql, &format, Perm::CONSISTENT_READ).expect("alone");
        let become_writable = |bql: &mut BqlGuard| {
            let (one, two) = (writable(bql, &format), writable(bql, &file));
            let mut section = format.drain(bql);
            let mut changes = section.transaction();
            changes.reopen(one);
            changes.at(&file).reopen(two);
            changes.commit()
        };
        // A reader who does not want it to be written.
        let reader = Backend::new(bql, "", Perm::CONSISTENT_READ, ALL - Perm::WRITE);
        let reader = reader.expect("a backend");
        reader.insert(bql, &other).expect("nobody writes");
        let error = become_writable(bql).expect_err("not shared");
        assert_eq!(error.to_string(), "Failed to get \"write\" lock");
        reader.remove(bql);
        become_writable(bql).expect("nobody else uses it");

        mine.set_perm(bql, READ_WRITE, ALL).expect("writable");
        write(bql, &mine, 0, b"new").expect("written");
        let error = backend(bql, &other, READ_WRITE).expect_err("not shared");
        assert_eq!(error.to_string(), "Failed to get \"write\" lock");
        mine.remove(bql);
        drop(mine);
        drop((file, format));
        bql.run_for(Duration::from_millis(1));
        backend(bql, &other, READ_WRITE).expect("the locks are gone with their owner");
    });
}

#[test]
fn a_file_that_is_being_reopened_is_not_reopened_by_others() {
    in_layer(|bql, directory| {
        let path = image(directory.path());
        let file = File::new(&path).read_only(true).open(bql, "file");
        let file = file.expect("opened");
        let waits = Arc::new(AtomicBool::new(false));
        let driver = Format {
            waits: Some(Arc::clone(&waits)),
        };
        let slow = NodeBuilder::new("slow").open(bql, Arc::new(driver));
        let slow = slow.expect("opened");
        let reader = jealous(bql, &file).expect("alone");
        let (main, other) = (bql.main_loop(), file.clone());
        let (one, two) = (writable(bql, &file), writable(bql, &slow));
        let nested = bql.context().clone().spawn(async move {
            while !waits.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(1)).await;
            }
            main.call(move |bql| {
                let refused = reopen(bql, &other, AUTO);
                // Others may use it all the same, and other processes hear it.
                reader.remove(bql);
                (refused, jealous(bql, &other))
            })
            .await
        });
        let mut section = file.drain(bql);
        let mut changes = section.transaction();
        changes.reopen(one);
        changes.at(&slow).reopen(two);
        changes.commit().expect("it is the first");
        section.end();
        let (refused, reader) = bql.block_on(nested).expect("the main loop is here");
        let error = refused.expect_err("it is being reopened");
        assert_eq!(error.errno(), errno::EBUSY);
        let reader = reader.expect("nobody writes");

        let other = File::new(&path).open(bql, "other").expect("opened");
        let error = backend(bql, &other, READ_WRITE).expect_err("not shared");
        assert_eq!(error.to_string(), "Failed to get \"write\" lock");
        reader.remove(bql);
        let writer = backend(bql, &file, READ_WRITE).expect("it is writable");
        write(bql, &writer, 0, b"written").expect("written");
        reopen(bql, &file, AUTO).expect("it is over");
    });
}

#[test]
fn qemu_sees_the_locks_of_a_reopened_file() {
    let Some(qemu_io) = Tool::find("qemu-io") else {
        return;
    };
    in_layer(|bql, directory| {
        let path = image(directory.path());
        let node = File::new(&path)
            .read_only(true)
            .open(bql, "node")
            .expect("opened");
        node.set_read_only(bql, false).expect("it can be written");
        let mine = Backend::new(bql, "", READ_WRITE, ALL - Perm::WRITE).expect("a backend");
        mine.insert(bql, &node).expect("writable");
        let path = path.to_str().expect("text");
        let tried = qemu_io.run(["-f", "raw", "-c", "write 0 512", path]);
        let said = String::from_utf8_lossy(&tried.stderr);
        assert!(said.contains("Failed to get \"write\" lock"), "{said}");
        mine.remove(bql);
        node.set_read_only(bql, true).expect("nobody writes");
        let tried = qemu_io.run(["-f", "raw", "-c", "write 0 512", path]);
        assert!(
            tried.status.success(),
            "{}",
            String::from_utf8_lossy(&tried.stderr)
        );
    });
}

#[test]
fn the_page_cache_is_bypassed_and_used_again() {
    in_layer(|bql, directory| {
        let path = image(directory.path());
        let node = File::new(&path).open(bql, "node").expect("opened");
        let disk = disk(bql, &node);
        let limits = |bql: &BqlGuard| node.view(bql).limits().request_alignment;
        assert_eq!(limits(bql), 1);
        for _ in 0..3 {
            match reopen(bql, &node, DIRECT) {
                Ok(()) => {}
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.ends_with("does not support O_DIRECT"), "{error}");
                    println!("SKIPPED: {error}");
                    return;
                }
            }
            let direct = node.driver::<File>().expect("a file").geometry(bql);
            assert_eq!(limits(bql), direct.request_alignment);
            // Whatever the alignment, requests are as long as they are.
            write(bql, &disk, 100, b"direct").expect("written");
            flush(bql, &disk).expect("durable");
            assert_eq!(
                read(bql, &disk, 98, 10).expect("read"),
                b"\x07\x07direct\x07\x07"
            );
            reopen(bql, &node, BUFFERED).expect("as before");
            assert_eq!(limits(bql), 1);
            assert_eq!(
                read(bql, &disk, 98, 10).expect("read"),
                b"\x07\x07direct\x07\x07"
            );
            write(bql, &disk, 100, b"\x07\x07\x07\x07\x07\x07").expect("written");
        }
    });
}

/// A write that is to be durable goes to the disk although the driver offered
/// that while it bypassed the page cache.
#[test]
fn durable_writes_of_a_file_that_is_buffered_now() {
    in_layer(|bql, directory| {
        let path = image(directory.path());
        let Ok(node) = File::new(&path).direct(true).open(bql, "node") else {
            println!("SKIPPED: no direct I/O here");
            return;
        };
        let disk = disk(bql, &node);
        reopen(bql, &node, BUFFERED).expect("buffered");
        let buffer = Buffer::from(&b"durable"[..]);
        bql.block_on(async {
            let in_flight = disk.root().begin().await;
            let request = in_flight.request().expect("a medium");
            request
                .write_with(3, buffer.source(), block_io::WriteFlags::FUA)
                .await
        })
        .expect("written");
        assert_eq!(&fs::read(&path).expect("read")[3..10], b"durable");
    });
}

#[test]
fn a_file_is_opened_for_writing_when_the_writer_comes() {
    in_layer(|bql, directory| {
        let path = image(directory.path());
        let node = File::new(&path).open(bql, "node").expect("opened");
        let auto = FileSettings {
            auto_read_only: true,
            ..BUFFERED
        };
        reopen(bql, &node, auto).expect("nobody minds");
        let disk = disk(bql, &node);
        write(bql, &disk, 0, b"x").expect("written");
        // And with a writer there already.
        reopen(bql, &node, BUFFERED).expect("nobody minds");
        write(bql, &disk, 1, b"y").expect("written");
        reopen(bql, &node, auto).expect("nobody minds");
        write(bql, &disk, 2, b"z").expect("written");
        assert_eq!(&fs::read(&path).expect("read")[..4], b"xyz\x07");
    });
}

#[test]
fn a_window_moves_and_a_whole_image_gets_none() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let bytes: Vec<u8> = (0..64u8).flat_map(|sector| [sector; 512]).collect();
        fs::write(&path, bytes).expect("written");
        let file = File::new(&path).open(bql, "file").expect("opened");
        let window = Raw::over(&file).offset(512).size(Some(1024));
        let window = window.open(bql, "window").expect("opened");
        let whole = Raw::over(&file).open(bql, "whole").expect("opened");
        let settings = |offset, size| RawSettings { offset, size };

        reopen(bql, &window, settings(1024, Some(512))).expect("it fits");
        assert_eq!(window.length(bql), 512);
        let disk = disk(bql, &window);
        assert_eq!(read(bql, &disk, 0, 1).expect("read"), [2]);
        reopen(bql, &window, settings(0, None)).expect("it fits");
        assert_eq!(window.length(bql), 64 * 512);
        let error = reopen(bql, &window, settings(1 << 20, None)).expect_err("too far");
        let text = "Offset (1048576) cannot be greater than size of the containing file (32768)";
        assert_eq!(error.to_string(), text);
        assert_eq!(window.length(bql), 64 * 512);

        reopen(bql, &whole, settings(0, None)).expect("nothing changes");
        let error = reopen(bql, &whole, settings(512, None)).expect_err("a filter");
        assert!(
            error.to_string().contains("shows all of its file"),
            "{error}"
        );
        let error = reopen(bql, &whole, BUFFERED).expect_err("of a file");
        assert_eq!(
            error.to_string(),
            "The settings are those of another driver"
        );
    });
}

#[test]
fn a_throttle_node_goes_to_another_group_and_waits_there() {
    in_layer(|bql, _| {
        let group = |name| ThrottleGroup::new(name, ThrottleConfig::default()).expect("no limits");
        let (one, two) = (group("one"), group("two"));
        let null = NullCo::new(1 << 20).open(bql, "null").expect("opened");
        let node = Throttle::over(&null)
            .group(&one)
            .open(bql, "node")
            .expect("opened");
        let disk = disk(bql, &node);
        let of = |bql: &BqlGuard| node.driver::<Throttle>().expect("throttle").group(bql);
        reopen(bql, &node, two.clone()).expect("nobody minds");
        assert_eq!(of(bql), two);
        // The old group is nothing to the node any more, the new one is all.
        let slow = ThrottleConfig {
            bps_read: block_drivers::Limit::average(1),
            ..ThrottleConfig::default()
        };
        one.set_config(slow).expect("makes sense");
        for _ in 0..3 {
            read(bql, &disk, 0, 4096).expect("read at once");
        }
        one.set_config(ThrottleConfig::default())
            .expect("makes sense");
        two.set_config(slow).expect("makes sense");
        read(bql, &disk, 0, 4096).expect("the first need not wait");
        let root = disk.root().clone();
        let waiting = bql.context().clone().spawn(async move {
            let mut buffer = Buffer::zeroed(4096);
            root.read(0, buffer.destination()).await
        });
        while two.waiting() == 0 {
            bql.run_for(std::time::Duration::from_millis(1));
        }
        // A section lets it run; so the group can be left while it waits.
        reopen(bql, &node, one.clone()).expect("nobody minds");
        assert_eq!((of(bql), two.waiting()), (one, 0));
        bql.block_on(waiting).expect("it ran");
        for _ in 0..3 {
            read(bql, &disk, 0, 4096).expect("read at once");
        }
    });
}

/// Nobody who writes meanwhile notices which descriptor it is, or how requests
/// have to be aligned.
#[test]
fn requests_go_on_while_the_file_is_reopened_again_and_again() {
    const SIZE: u64 = 1 << 16;
    in_layer(|bql, directory| {
        let path = image(directory.path());
        let node = File::new(&path).open(bql, "node").expect("opened");
        let disk = disk(bql, &node);
        disk.set_allow_context_change(bql, true);
        let iothread = IoThread::create(bql, "io").expect("a thread");
        node.set_iothread(bql, Some(&iothread)).expect("moved");
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicU64::new(0));
        // Each guest has every fourth piece of the disk, of odd lengths.
        let guests: Vec<_> = (0..4u64)
            .map(|guest| {
                let (root, stop) = (disk.root().clone(), Arc::clone(&stop));
                let rounds = Arc::clone(&rounds);
                iothread.context().spawn(async move {
                    let mut round = guest;
                    while !stop.load(Ordering::Relaxed) {
                        let place = (round * 4 + guest) * 333 % (SIZE - 400) / 1332 * 1332;
                        let place = place + guest * 333;
                        let bytes = [round as u8; 333];
                        let written = Buffer::from(&bytes[..]);
                        root.write(place, written.source()).await.expect("written");
                        let mut seen = Buffer::zeroed(333);
                        root.read(place, seen.destination()).await.expect("read");
                        assert_eq!(seen.as_slice(), bytes, "at {place}");
                        round += 1;
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let auto = FileSettings {
            auto_read_only: true,
            ..BUFFERED
        };
        for settings in [DIRECT, BUFFERED, auto].into_iter().cycle().take(30) {
            let before = rounds.load(Ordering::Relaxed);
            match reopen(bql, &node, settings) {
                Ok(()) => {}
                Err(error) if settings == DIRECT => {
                    let error = error.to_string();
                    assert!(error.ends_with("does not support O_DIRECT"), "{error}");
                }
                Err(error) => panic!("{error}"),
            }
            while rounds.load(Ordering::Relaxed) < before + 8 {
                bql.run_for(std::time::Duration::from_millis(1));
            }
        }
        stop.store(true, Ordering::Relaxed);
        for guest in guests {
            bql.block_on(guest);
        }
        node.set_iothread(bql, None).expect("moved back");
    });
}
