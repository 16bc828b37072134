//! What goes wrong in the world outside: a full disk, a file that vanishes,
//! errors in the middle of graph operations. Each is said clearly, the graph is
//! of use afterwards, and nothing is lost that was reported as written.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use block_common::error::errno;
use block_common::role::PermPair;
use block_common::{BlockLimits, Preallocation};
use block_drivers::{Chance, File, Inject, Injector, Raw, RequestKind, Stats};
use block_gs::{Backend, BlockDriver, BqlGuard, GraphError, Node, NodeBuilder, Perm, Role};
use block_io::aio::yield_now;
use block_io::{Buffer, Destination, DriverIo, IoError, IoFuture, Request, Source, WriteFlags};
use test_support::{Little, little_room, with_little_room};

use crate::support::{
    READ_WRITE, backend, disk, flush, in_layer, pattern, read, write, write_as_parent,
};

const BLOCK: usize = 4096;

/// A file of `blocks` blocks with a pattern.
fn image(path: &Path, blocks: usize) -> Vec<u8> {
    let bytes = pattern(blocks * BLOCK, 1);
    fs::write(path, &bytes).expect("written");
    bytes
}

#[test]
fn a_limit_on_files_loses_nothing_that_was_written() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let run = with_little_room(Little::Files, directory.path(), "failures::fill_a_disk");
    assert!(run, "a limit needs no permission");
}

#[test]
fn a_full_file_system_loses_nothing_that_was_written() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    with_little_room(
        Little::FileSystem,
        directory.path(),
        "failures::fill_a_disk",
    );
}

/// For the tests above, in a child process with little room; alone it does
/// nothing.
#[test]
fn fill_a_disk() {
    let Some(directory) = little_room() else {
        return;
    };
    let path = directory.join("image");
    in_layer(|bql, _| {
        File::create(&path, BLOCK as u64).expect("created");
        let file = File::new(&path).open(bql, "file").expect("opened");
        let node = Stats::over(&file).open(bql, "stats").expect("opened");
        let disk = backend(bql, &node, READ_WRITE | Perm::RESIZE).expect("nobody objects");
        let bytes = |block: usize| pattern(BLOCK, block as u64);
        let mut written = 0;
        let refused = loop {
            match write_as_parent(bql, &disk, (written * BLOCK) as u64, &bytes(written)) {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
            assert!(written < 1000, "there was to be little room");
        };
        const EFBIG: i32 = 27;
        assert!(
            [errno::ENOSPC, EFBIG].contains(&refused.errno()),
            "{refused}"
        );
        assert!(written > 4, "there was to be some room");
        let check = |bql: &mut BqlGuard| {
            for block in 0..written {
                let found = read(bql, &disk, (block * BLOCK) as u64, BLOCK).expect("read");
                assert!(found == bytes(block), "block {block}");
            }
        };
        check(bql);
        flush(bql, &disk).expect("what was written is safe");
        let refused = bql.block_on(disk.root().truncate(1 << 30, true, Preallocation::Full));
        assert!(refused.is_err(), "there is no room for that");
        check(bql);
        // The graph can be changed, and what there is be overwritten.
        let filter = Raw::over(&node).open(bql, "raw").expect("opened");
        node.drain(bql).replace_with(&filter).expect("inserted");
        write(bql, &disk, 0, &bytes(0)).expect("no more room is needed");
        check(bql);
        // Less is possible, and then as much again.
        let half = (written / 2 * BLOCK) as u64;
        let shrunk = bql.block_on(disk.root().truncate(half, true, Preallocation::Off));
        shrunk.expect("less is always possible");
        for block in written / 2..written {
            let again = write_as_parent(bql, &disk, (block * BLOCK) as u64, &bytes(block));
            again.expect("the room that was given back");
        }
        check(bql);
    });
}

#[test]
fn a_file_that_was_unlinked_goes_on_and_cannot_be_opened_again() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let bytes = image(&path, 4);
        let file = File::new(&path).open(bql, "file").expect("opened");
        let disk = disk(bql, &file);
        fs::remove_file(&path).expect("removed");
        assert!(read(bql, &disk, 0, bytes.len()).expect("read") == bytes);
        write(bql, &disk, 0, b"still there").expect("written");
        flush(bql, &disk).expect("flushed");
        let again = File::new(&path).open(bql, "again").expect_err("gone");
        assert_eq!(again.errno(), errno::ENOENT);
        assert!(again.to_string().contains("image"), "{again}");
        let stats = Stats::over(&file).open(bql, "stats").expect("opened");
        file.drain(bql).replace_with(&stats).expect("inserted");
        assert_eq!(read(bql, &disk, 0, 11).expect("read"), b"still there");
    });
}

#[test]
fn a_file_that_another_process_truncates_is_shorter_from_then_on() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let bytes = image(&path, 4);
        let file = File::new(&path).open(bql, "file").expect("opened");
        let plain = disk(bql, &file);
        let growing = backend(bql, &file, READ_WRITE | Perm::RESIZE).expect("nobody objects");
        let other = fs::OpenOptions::new().write(true).open(&path);
        other.expect("opened").set_len(1000).expect("truncated");
        // The node believes that it is longer; what is not there reads as zeroes.
        let mut expected = bytes[..1000].to_vec();
        expected.resize(BLOCK, 0);
        assert!(read(bql, &plain, 0, BLOCK).expect("read") == expected);
        assert_eq!(bql.block_on(plain.root().length()).expect("asked"), 1000);
        let beyond = read(bql, &plain, 1000, 1).expect_err("beyond the end");
        assert!(
            matches!(beyond, IoError::BeyondEnd { length: 1000, .. }),
            "{beyond}"
        );
        let refused = write_as_parent(bql, &plain, 1000, b"x").expect_err("it would grow");
        assert!(
            matches!(refused, IoError::Permission(Perm::RESIZE)),
            "{refused}"
        );
        write_as_parent(bql, &growing, 1000, b"more").expect("this one may");
        assert_eq!(read(bql, &growing, 996, 8).expect("read")[4..], *b"more");
        assert_eq!(fs::read(&path).expect("read").len(), 1004);
    });
}

/// Trouble over a file.
fn troubled(bql: &mut BqlGuard, path: &Path) -> (Node, Injector, Backend) {
    let injector = Injector::new(1);
    let file = File::new(path).open(bql, "file").expect("opened");
    let node = Inject::over(&file).injector(&injector);
    let node = node.open(bql, "inject").expect("opened");
    let disk = disk(bql, &node);
    (node, injector, disk)
}

#[test]
fn an_error_in_a_drained_section_is_its_owners_and_nobody_elses() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let bytes = image(&path, 2);
        let (node, injector, disk) = troubled(bql, &path);
        for kind in RequestKind::ALL {
            injector.set_errors(kind, Chance::ALWAYS, errno::EIO);
        }
        let mut section = node.drain(bql);
        let root = disk.root().clone();
        let parked = section.context().spawn(async move {
            let mut buffer = Buffer::zeroed(BLOCK);
            root.read(0, buffer.destination()).await?;
            Ok::<_, IoError>(buffer.as_slice().to_vec())
        });
        let mut buffer = Buffer::zeroed(BLOCK);
        let failed = section
            .io(async |request: Request<'_>| request.read(0, buffer.destination()).await)
            .expect_err("told to fail");
        assert_eq!(failed.errno(), errno::EIO);
        let failed = section.io(async |request: Request<'_>| request.flush().await);
        assert_eq!(failed.expect_err("told to fail").errno(), errno::EIO);
        section.block_on(yield_now());
        assert!(!parked.is_finished(), "the section lasts");
        injector.stop();
        let read =
            section.io(async |request: Request<'_>| request.read(0, buffer.destination()).await);
        read.expect("left alone");
        assert!(buffer.as_slice() == &bytes[..BLOCK]);
        section
            .drop_filter()
            .expect("the section can still be used");
        section.end();
        assert!(bql.block_on(parked).expect("read") == bytes[..BLOCK]);
    });
}

/// A filter whose callbacks fail when they are told to.
#[derive(Default)]
struct Moody {
    refuses_permissions: AtomicBool,
    refuses_limits: AtomicBool,
    panics: AtomicBool,
}

impl DriverIo for Moody {
    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        match request.file() {
            Ok(file) => file.read(offset, into),
            Err(error) => IoFuture::failed(error),
        }
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        match request.file() {
            Ok(file) => file.write_with(offset, from, flags),
            Err(error) => IoFuture::failed(error),
        }
    }

    fn length<'r>(&'r self, request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(request.file().map(|file| file.node().length()))
    }
}

impl BlockDriver for Moody {
    fn format_name(&self) -> &'static str {
        "moody"
    }

    fn is_filter(&self) -> bool {
        true
    }

    fn check_perm(&self, _bql: &BqlGuard, _asked: PermPair) -> Result<(), GraphError> {
        assert!(!self.panics.load(Ordering::Relaxed), "in a bad mood");
        match self.refuses_permissions.load(Ordering::Relaxed) {
            true => Err(refusal("not these permissions")),
            false => Ok(()),
        }
    }

    fn refresh_limits(&self, _bql: &BqlGuard, _limits: &mut BlockLimits) -> Result<(), GraphError> {
        match self.refuses_limits.load(Ordering::Relaxed) {
            true => Err(refusal("not these limits")),
            false => Ok(()),
        }
    }
}

fn refusal(message: &str) -> GraphError {
    GraphError::Refused {
        message: message.to_owned(),
        errno: errno::EINVAL,
    }
}

#[test]
fn a_driver_that_fails_half_way_through_a_transaction_leaves_the_old_graph() {
    in_layer(|bql, directory| {
        let paths = ["one", "two"].map(|name| directory.path().join(name));
        let files = paths.each_ref().map(|path| {
            image(path, 2);
            let name = path.file_name().and_then(|name| name.to_str());
            File::new(path)
                .open(bql, name.expect("a name"))
                .expect("opened")
        });
        fs::write(&paths[1], vec![0xee; 2 * BLOCK]).expect("written");
        let moody = Arc::new(Moody::default());
        let filter = NodeBuilder::new("moody")
            .child("file", &files[0], Role::FILTERED | Role::PRIMARY)
            .open(bql, Arc::clone(&moody) as Arc<dyn BlockDriver>)
            .expect("opened");
        let plain = Raw::over(&files[0]).open(bql, "raw").expect("opened");
        let disks = [disk(bql, &filter), disk(bql, &plain)];
        let change = |bql: &mut BqlGuard| {
            let mut section = plain.drain(bql);
            let mut changes = section.transaction();
            changes.replace_child("file", &files[1]);
            changes.at(&filter).replace_child("file", &files[1]);
            changes.commit()
        };
        let expected = pattern(2 * BLOCK, 1);
        let mut mood = 0;
        for (switch, words) in [
            (&moody.refuses_permissions, Some("not these permissions")),
            (&moody.refuses_limits, Some("not these limits")),
            (&moody.panics, None),
        ] {
            switch.store(true, Ordering::Relaxed);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| change(bql)));
            switch.store(false, Ordering::Relaxed);
            match (outcome, words) {
                (Ok(refused), Some(words)) => {
                    let refused = refused.expect_err("a callback has failed");
                    assert!(refused.to_string().contains(words), "{refused}");
                }
                (Err(_), None) => {}
                (outcome, _) => panic!("mood {mood}: {outcome:?}"),
            }
            mood += 1;
            for disk in &disks {
                assert_eq!(disk.root().quiesce_count(), 0);
                assert!(read(bql, disk, 0, 2 * BLOCK).expect("read") == expected);
                write(bql, disk, 0, &expected[..BLOCK]).expect("written");
            }
            assert_eq!(files[1].view(bql).parents().count(), 0, "mood {mood}");
            assert_eq!(files[0].view(bql).parents().count(), 2, "mood {mood}");
        }
        change(bql).expect("nobody objects any more");
        assert_eq!(read(bql, &disks[0], 0, 1).expect("read"), [0xee]);
    });
}

#[test]
fn a_flush_that_fails_while_a_node_is_closed_takes_nothing_along() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        image(&path, 2);
        let (node, injector, disk) = troubled(bql, &path);
        write(bql, &disk, 0, b"reported").expect("written");
        injector.set_errors(RequestKind::Flush, Chance::ALWAYS, errno::EIO);
        let failed = flush(bql, &disk).expect_err("told to fail");
        assert_eq!(failed.errno(), errno::EIO);
        disk.remove(bql);
        drop((disk, node));
        bql.poll(block_io::aio::Wait::No);
        let left: Vec<_> = block_gs::nodes(bql)
            .map(|node| node.name().to_owned())
            .collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(
            injector.injected().errors(RequestKind::Flush) >= 2,
            "closing flushes"
        );
        assert!(fs::read(&path).expect("read").starts_with(b"reported"));
        // Its name and its locks are free again.
        let file = File::new(&path).open(bql, "file").expect("opened");
        let disk = backend(bql, &file, READ_WRITE).expect("nobody objects");
        assert_eq!(read(bql, &disk, 0, 8).expect("read"), b"reported");
    });
}

#[test]
fn a_truncation_that_was_dropped_does_not_change_the_length_after_another_one() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        image(&path, 2);
        let file = File::new(&path).open(bql, "file").expect("opened");
        let disk = backend(bql, &file, READ_WRITE | Perm::RESIZE).expect("nobody objects");
        for length in [BLOCK as u64, 3 * BLOCK as u64] {
            let root = disk.root().clone();
            let dropped = bql
                .context()
                .spawn(async move { root.truncate(64 << 20, true, Preallocation::Full).await });
            bql.block_on(yield_now());
            let dropped = bql.block_on(dropped.cancel());
            // In memory it is over at once.
            assert!(dropped.is_none_or(|done| done.is_ok()));
            let root = disk.root();
            let truncated = bql.block_on(root.truncate(length, true, Preallocation::Off));
            truncated.expect("truncated");
            assert_eq!(bql.block_on(root.length()).expect("asked"), length);
            file.drain(bql).end();
            assert_eq!(fs::read(&path).expect("read").len() as u64, length);
        }
    });
}

#[test]
fn a_copy_that_was_dropped_does_not_copy_what_comes_later() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let half = 16 << 20;
        fs::write(&path, vec![1; half]).expect("written");
        let file = File::new(&path).open(bql, "file").expect("opened");
        let disk = backend(bql, &file, READ_WRITE | Perm::RESIZE).expect("nobody objects");
        let root = disk.root().clone();
        bql.block_on(root.truncate(2 * half as u64, true, Preallocation::Off))
            .expect("truncated");
        let copy = bql.context().spawn(async move {
            let in_flight = root.begin().await;
            let request = in_flight.request()?;
            let to = block_io::CopyEnd {
                request,
                offset: half as u64,
            };
            request
                .copy_range(0, to, half as u64, WriteFlags::empty())
                .await
        });
        bql.block_on(yield_now());
        // Dropped, done, or not possible here.
        bql.block_on(copy.cancel());
        write(bql, &disk, 0, &vec![2; half]).expect("written");
        file.drain(bql).end();
        let copied = &fs::read(&path).expect("read")[half..];
        assert!(
            copied.iter().all(|byte| [0, 1].contains(byte)),
            "later bytes"
        );
    });
}
