//! `file`, through both engines.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use block_common::error::errno;
use block_common::limits;
use block_drivers::File;
use block_gs::{Backend, BqlGuard, GraphError, IoError, IoThread, NewImage, Node, Perm};
use block_io::aio::Engine;
use block_io::{Activity, Buffer, Request};
use rustix::fs::{CWD, FileType, Mode};

use crate::support::{
    READ_WRITE, UNTOUCHED, backend, disk, flush, in_layer, pattern, read, read_as_parent, write,
    write_as_parent,
};

const LENGTH: usize = 300_000;

/// The engines that this machine has, and the choice at run time.
fn engines() -> Vec<Option<Engine>> {
    let all = [None, Some(Engine::Threads), Some(Engine::IoUring)];
    let usable = |engine: &Option<Engine>| engine.is_none_or(Engine::is_available);
    let usable: Vec<_> = all.into_iter().filter(usable).collect();
    if usable.len() < all.len() {
        println!("SKIPPED: this machine has no io_uring");
    }
    usable
}

fn open(bql: &mut BqlGuard, path: &Path, engine: Option<Engine>) -> Node {
    File::new(path)
        .engine(engine)
        .open(bql, "")
        .expect("the file is there")
}

#[test]
fn bytes_arrive_where_they_belong_whatever_the_offset_and_length() {
    in_layer(|bql, directory| {
        for engine in engines() {
            let path = directory.path().join(format!("{engine:?}"));
            let mut expected = pattern(LENGTH, 1);
            fs::write(&path, &expected).expect("written");
            let node = open(bql, &path, engine);
            let disk = disk(bql, &node);
            let ranges = [
                (0, 1),
                (511, 3),
                (4095, 4098),
                (100_001, 65_537),
                (LENGTH - 1, 1),
                (0, LENGTH),
                (17, 0),
            ];
            for (seed, (offset, len)) in ranges.into_iter().enumerate() {
                let range = offset..offset + len;
                let got = read(bql, &disk, offset as u64, len).expect("read");
                assert_eq!(got, expected[range.clone()], "{engine:?} {range:?}");
                expected[range.clone()].copy_from_slice(&pattern(len, seed as u64 + 100));
                write(bql, &disk, offset as u64, &expected[range]).expect("written");
                assert_eq!(fs::read(&path).expect("read"), expected, "{engine:?}");
            }
            flush(bql, &disk).expect("flushed");
        }
    });
}

#[test]
fn the_length_is_that_of_the_file() {
    in_layer(|bql, directory| {
        for length in [0, 1, 511, 512, 1_000_003] {
            let path = directory.path().join(length.to_string());
            File::create(&path, length).expect("created");
            let node = open(bql, &path, None);
            assert_eq!(node.io().length(), length);
            let disk = disk(bql, &node);
            assert_eq!(bql.block_on(disk.root().length()).expect("known"), length);
        }
    });
}

#[test]
fn holes_read_as_zeroes_and_stay_holes() {
    in_layer(|bql, directory| {
        for engine in engines() {
            let path = directory.path().join(format!("{engine:?}"));
            File::create(&path, 8 << 20).expect("created");
            let node = open(bql, &path, engine);
            let disk = disk(bql, &node);
            write(bql, &disk, 5 << 20, &pattern(4096, 1)).expect("written");
            let got = read(bql, &disk, (5 << 20) - 4096, 3 * 4096).expect("read");
            assert!(got[..4096].iter().all(|&byte| byte == 0));
            assert_eq!(got[4096..8192], pattern(4096, 1));
            assert!(got[8192..].iter().all(|&byte| byte == 0));
            let metadata = fs::metadata(&path).expect("there");
            assert!(metadata.blocks() * 512 < metadata.len(), "{metadata:?}");
        }
    });
}

#[test]
fn what_lies_beyond_the_end_reads_as_zeroes_for_a_parent_and_is_refused_to_a_device() {
    in_layer(|bql, directory| {
        for engine in engines() {
            let path = directory.path().join(format!("{engine:?}"));
            let bytes = pattern(1000, 1);
            fs::write(&path, &bytes).expect("written");
            let node = open(bql, &path, engine);
            let disk = disk(bql, &node);
            let crossing = read_as_parent(bql, &disk, 900, 300).expect("read");
            assert_eq!(crossing[..100], bytes[900..]);
            assert_eq!(crossing[100..], [0; 200]);
            let beyond = read_as_parent(bql, &disk, 1 << 40, 512).expect("read");
            assert_eq!(beyond, [0; 512]);
            let refused = read(bql, &disk, 900, 300).expect_err("beyond the end");
            assert!(matches!(refused, IoError::BeyondEnd { length: 1000, .. }));
        }
    });
}

#[test]
fn a_file_that_was_cut_short_by_others_reads_as_zeroes_there() {
    in_layer(|bql, directory| {
        for engine in engines() {
            let path = directory.path().join(format!("{engine:?}"));
            let bytes = pattern(10_000, 1);
            fs::write(&path, &bytes).expect("written");
            let node = open(bql, &path, engine);
            let disk = disk(bql, &node);
            let file = fs::OpenOptions::new().write(true).open(&path);
            file.and_then(|file| file.set_len(5_000)).expect("cut");
            let got = read(bql, &disk, 4_000, 6_000).expect("read");
            assert_eq!(got[..1_000], bytes[4_000..5_000]);
            assert!(got[1_000..].iter().all(|&byte| byte == 0));
            let refreshed = node
                .drain(bql)
                .io(async |request: Request<'_>| request.refresh_length().await);
            assert_eq!(refreshed.expect("known"), 5_000);
            assert_eq!(node.io().length(), 5_000);
        }
    });
}

#[test]
fn only_who_may_resize_makes_the_file_grow() {
    in_layer(|bql, directory| {
        for engine in engines() {
            let path = directory.path().join(format!("{engine:?}"));
            File::create(&path, 1000).expect("created");
            let node = open(bql, &path, engine);
            let disk = disk(bql, &node);
            let refused = write_as_parent(bql, &disk, 999, b"ab").expect_err("too far");
            assert!(matches!(refused, IoError::Permission(Perm::RESIZE)));
            assert_eq!(fs::metadata(&path).expect("there").len(), 1000);

            disk.set_perm(bql, READ_WRITE | Perm::RESIZE, Perm::all())
                .expect("nobody objects");
            write_as_parent(bql, &disk, 5000, b"ab").expect("written");
            assert_eq!(node.io().length(), 5002);
            assert_eq!(fs::metadata(&path).expect("there").len(), 5002);
            assert_eq!(read(bql, &disk, 4998, 4).expect("read"), b"\0\0ab");
        }
    });
}

#[test]
fn a_read_only_node_is_read_and_not_written() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        fs::write(&path, b"contents").expect("written");
        let node = File::new(&path).read_only(true).open(bql, "ro");
        let node = node.expect("opened");
        let refused = backend(bql, &node, READ_WRITE).expect_err("read-only");
        assert_eq!(refused.to_string(), "Block node is read-only");
        assert_eq!(refused.errno(), errno::EPERM);

        let disk = backend(bql, &node, Perm::CONSISTENT_READ).expect("a reader");
        assert_eq!(read(bql, &disk, 0, 8).expect("read"), b"contents");
        flush(bql, &disk).expect("nothing to do");
        let refused = write(bql, &disk, 0, b"x").expect_err("read-only");
        assert!(matches!(refused, IoError::ReadOnly));
        assert_eq!(fs::read(&path).expect("read"), b"contents");
    });
}

#[test]
fn a_reader_of_a_writable_node_does_not_write() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        fs::write(&path, b"contents").expect("written");
        let node = open(bql, &path, None);
        let disk = backend(bql, &node, Perm::CONSISTENT_READ).expect("a reader");
        let refused = write(bql, &disk, 0, b"x").expect_err("not allowed");
        assert!(matches!(refused, IoError::Permission(Perm::WRITE)));
        assert_eq!(fs::read(&path).expect("read"), b"contents");
    });
}

#[test]
fn what_cannot_be_opened_is_named() {
    in_layer(|bql, directory| {
        let missing = directory.path().join("missing");
        let error = File::new(&missing).open(bql, "x").expect_err("missing");
        assert!(matches!(error, GraphError::CouldNotOpen { .. }));
        assert_eq!(error.errno(), errno::ENOENT);
        let text = format!(
            "Could not open '{}': No such file or directory",
            missing.display()
        );
        assert_eq!(error.to_string(), text);

        let is_directory = File::new(directory.path()).read_only(true).open(bql, "x");
        let text = format!(
            "'file' driver requires '{}' to be a regular file",
            directory.path().display()
        );
        assert_eq!(is_directory.expect_err("no file").to_string(), text);

        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .expect("a pipe");
        let error = File::new(&pipe).read_only(true).open(bql, "x");
        let error = error.expect_err("it is not opened: that would block");
        assert_eq!(error.errno(), errno::EINVAL);

        assert!(Node::find(bql, "x").is_none(), "no node is left behind");
    });
}

#[test]
fn a_name_that_is_taken_leaves_the_file_alone() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        File::create(&path, 512).expect("created");
        let first = File::new(&path).open(bql, "image").expect("opened");
        let again = File::new(&path).open(bql, "image");
        assert!(matches!(again, Err(GraphError::DuplicateNodeName(_))));
        assert_eq!(Node::find(bql, "image"), Some(first));
    });
}

#[test]
fn creating_overwrites_only_when_told() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("image");
    File::create(&path, 4096).expect("created");
    fs::write(&path, b"precious").expect("written");
    let refused = File::create(&path, 4096).expect_err("there is something");
    let text = format!("Could not create '{}': File exists", path.display());
    assert_eq!(refused.to_string(), text);
    assert_eq!(fs::read(&path).expect("read"), b"precious");

    File::create_over(&path, 3).expect("told so");
    assert_eq!(fs::read(&path).expect("read"), [0; 3]);

    let huge = directory.path().join("huge");
    let refused = File::create(&huge, limits::MAX_LENGTH + 1).expect_err("no node is so long");
    let out_of_range = matches!(refused, GraphError::Io(IoError::OutOfRange(_)));
    assert!(out_of_range, "{refused}");
    assert!(!huge.exists());
    // Some file systems can, and then it is there; the others leave nothing.
    let possible = File::create(&huge, limits::MAX_LENGTH).is_ok();
    assert_eq!(huge.exists(), possible);
}

#[test]
fn iothreads_and_the_main_thread_use_one_file_at_once() {
    in_layer(|bql, directory| {
        for engine in engines() {
            let path = directory.path().join(format!("{engine:?}"));
            File::create(&path, 1 << 20).expect("created");
            let node = open(bql, &path, engine);
            let disk = disk(bql, &node);
            let threads: Vec<_> = (0..2)
                .map(|index| IoThread::create(bql, &format!("{engine:?}{index}")))
                .collect::<Result<_, _>>()
                .expect("iothreads");
            let stripe = |index: u64| {
                let root = disk.root().clone();
                async move {
                    for block in (index..256).step_by(3) {
                        let buffer = Buffer::from(&pattern(4096, block)[..]);
                        root.write(block * 4096, buffer.source()).await?;
                        let mut back = Buffer::zeroed(4096);
                        root.read(block * 4096, back.destination()).await?;
                        assert_eq!(back.as_slice(), buffer.as_slice());
                    }
                    root.flush().await
                }
            };
            let tasks: Vec<_> = (0..2)
                .zip(&threads)
                .map(|(index, thread)| thread.context().spawn(stripe(index)))
                .collect();
            bql.block_on(stripe(2)).expect("written");
            for task in tasks {
                bql.block_on(task).expect("written");
            }
            let bytes = fs::read(&path).expect("read");
            for (block, got) in bytes.chunks(4096).enumerate() {
                assert_eq!(got, pattern(4096, block as u64), "block {block}");
            }
        }
    });
}

#[test]
fn a_request_that_is_dropped_half_way_leaves_its_buffer_out_of_reach() {
    in_layer(|bql, directory| {
        for engine in engines() {
            let path = directory.path().join(format!("{engine:?}"));
            let bytes = pattern(LENGTH, 1);
            fs::write(&path, &bytes).expect("written");
            let node = open(bql, &path, engine);
            let disk = disk(bql, &node);
            let mut buffer = Buffer::zeroed(LENGTH);
            bql.block_on(async {
                let read = std::pin::pin!(disk.root().read(0, buffer.destination()));
                // Polled once, then dropped.
                let mut read = Some(read);
                std::future::poll_fn(|cx| {
                    let taken = read.take().map(|read| read.poll(cx).is_ready());
                    std::task::Poll::Ready(taken)
                })
                .await
            });
            buffer.reclaim();
            buffer.as_mut_slice().fill(UNTOUCHED);
            bql.block_on(disk.root().read(0, buffer.destination()))
                .expect("read");
            assert_eq!(buffer.as_slice(), bytes);
            assert_eq!(disk.root().in_flight(), 0);
        }
    });
}

/// The kernel, or a worker, may go on with a transfer whose request was
/// cancelled. A drained section waits for that too: nothing is written inside.
#[test]
fn a_cancelled_write_does_not_reach_into_a_later_section() {
    in_layer(|bql, directory| {
        for engine in engines() {
            let path = directory.path().join(format!("{engine:?}"));
            File::create(&path, 64 << 20).expect("created");
            let node = open(bql, &path, engine);
            let disk = Backend::new(bql, "", Perm::WRITE, Perm::all()).expect("a backend");
            disk.insert(bql, &node).expect("inserted");
            let io = IoThread::create(bql, &format!("io-{engine:?}").replace(['(', ')'], ""))
                .expect("an iothread");
            for _ in 0..5 {
                let root = disk.root().clone();
                let mut buffer = Buffer::zeroed(64 << 20);
                buffer.as_mut_slice().fill(0x5a);
                let write = io
                    .context()
                    .spawn(async move { root.write(0, buffer.source()).await });
                while disk.root().in_flight() == 0 && !write.is_finished() {
                    bql.run_for(Duration::from_micros(50));
                }
                bql.block_on(write.cancel());
                let mut section = node.drain(bql);
                let look = |path: &Path| {
                    let data = fs::metadata(path).expect("metadata");
                    (data.blocks(), data.mtime(), data.mtime_nsec())
                };
                let before = look(&path);
                section.block_on(block_io::aio::sleep(Duration::from_millis(20)));
                assert_eq!(look(&path), before, "written inside a section");
                section.end();
            }
        }
    });
}

#[test]
fn the_file_of_a_node_can_be_deleted_and_nothing_else() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        File::create(&path, 512).expect("created");
        let node = File::new(&path).open(bql, "file").expect("opened");
        let delete = |bql: &mut BqlGuard| {
            let deleted = bql.block_on(async {
                let activity = Activity::begin(Arc::clone(node.io())).await;
                activity.request().delete_file().await
            });
            deleted.map_err(|error| (error.errno(), error.to_string()))
        };
        delete(bql).expect("deleted");
        assert!(!path.exists());
        let text = "is not a regular file: No such file or directory";
        let message = format!("{} {text}", path.display());
        assert_eq!(delete(bql), Err((2, message.clone())));
        fs::create_dir(&path).expect("made");
        assert_eq!(delete(bql), Err((2, message)));
        assert!(path.exists());
    });
}

#[test]
fn an_image_is_made_in_a_file_that_is_open() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        File::create(&path, 512).expect("created");
        let node = File::new(&path).open(bql, "file").expect("opened");
        let image = NewImage::over(bql, &node).expect("nobody objects");
        let perms = |bql: &BqlGuard| node.view(bql).cumulative_perm();
        assert!(perms(bql).contains(Perm::WRITE | Perm::RESIZE));
        let written = bql.block_on(async {
            let header = Buffer::from(&[7; 1000][..]);
            image.root().write(4096, header.source()).await?;
            image.into_file().await
        });
        assert_eq!(written.expect("given back"), node);
        assert_eq!(perms(bql), Perm::empty());
        assert_eq!(fs::metadata(&path).expect("there").len(), 5096);

        // Who keeps the file for himself is not written over.
        let alone = Backend::new(bql, "", Perm::WRITE, Perm::empty()).expect("a backend");
        alone.insert(bql, &node).expect("inserted");
        let refused = NewImage::over(bql, &node).expect_err("it is not shared");
        assert!(
            refused.to_string().starts_with("Permission conflict"),
            "{refused}"
        );
    });
}
