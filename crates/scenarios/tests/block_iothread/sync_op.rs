//! The main thread does I/O on a node that lives in an iothread.
//!
//! Each operation is done twice: by the main thread itself, and by a task at
//! the node's home for which the main thread waits. Offsets are not signed
//! here; -2 is what the same bits say, far beyond the highest offset.

use std::sync::Arc;

use block_common::error::errno;
use block_gs::{Backend, BqlGuard, IoError, IoThread, Node, NodeBuilder, NodeOptions, Perm};
use block_io::{Buffer, Capabilities, DestinationVec, Root, SourceVec, StatusFlags, WriteFlags};
use scenarios::{Manner, SIZE, TestDriver, in_layer};

const BEYOND: u64 = -2_i64 as u64;

struct Disk {
    front: Backend,
    driver: Arc<TestDriver>,
}

/// Runs `test` with a node of 64 KiB in an iothread.
fn with_disk(manner: Manner, options: NodeOptions, test: impl FnOnce(&mut BqlGuard, Disk)) {
    in_layer(|bql| {
        let driver = Arc::new(TestDriver::new(manner));
        let builder = NodeBuilder::new("base").options(options);
        let node: Node = builder.open(bql, driver.clone()).expect("opened");
        let perm = match options.read_only {
            true => Perm::CONSISTENT_READ,
            false => Perm::CONSISTENT_READ | Perm::WRITE,
        };
        let front = Backend::new(bql, "blk", perm, Perm::all()).expect("a backend");
        front.insert(bql, &node).expect("inserted");
        let home = IoThread::create(bql, "io0").expect("a thread");
        front.set_iothread(bql, Some(&home)).expect("moved");
        assert_eq!(node.io().context(), *home.context());
        test(bql, Disk { front, driver });
    });
}

fn with_plain_disk(test: impl FnOnce(&mut BqlGuard, Disk)) {
    with_disk(Manner::of(SIZE), NodeOptions::default(), test);
}

/// Does `$body`, in which `$root` is the backend's root, in the main thread
/// and at home; 0, or the errno with which both fail.
macro_rules! outcome {
    ($bql:expr, $disk:expr, |$root:ident| $body:expr) => {{
        let $root: Root = $disk.front.root().clone();
        let home = $root.spawn({
            let $root = $root.clone();
            async move { errno_of($body) }
        });
        let here = $bql.block_on(async { errno_of($body) });
        assert_eq!($bql.block_on(home), here, "at home");
        here
    }};
}

fn errno_of<T>(outcome: Result<T, IoError>) -> i32 {
    outcome.err().map_or(0, |error| error.errno())
}

/// `/sync-op/pread`
#[test]
fn sync_op_pread() {
    with_plain_disk(|bql, disk| {
        for (offset, expected) in [(0, 0), (BEYOND, errno::EIO)] {
            let backend = outcome!(bql, disk, |root| {
                let mut buffer = Buffer::zeroed(512);
                root.read(offset, buffer.destination()).await
            });
            let edge = outcome!(bql, disk, |root| {
                let mut buffer = Buffer::zeroed(512);
                let in_flight = root.begin().await;
                let request = in_flight.request().expect("a node");
                request.read(offset, buffer.destination()).await
            });
            assert_eq!((backend, edge), (expected, expected), "at {offset}");
        }
        assert_eq!(disk.driver.reads(), 4, "those at 0");
    });
}

/// `/sync-op/pwrite`
#[test]
fn sync_op_pwrite() {
    with_plain_disk(|bql, disk| {
        for (offset, expected) in [(0, 0), (BEYOND, errno::EIO)] {
            let backend = outcome!(bql, disk, |root| {
                let buffer = Buffer::zeroed(512);
                root.write(offset, buffer.source()).await
            });
            let edge = outcome!(bql, disk, |root| {
                let buffer = Buffer::zeroed(512);
                let in_flight = root.begin().await;
                let request = in_flight.request().expect("a node");
                request.write(offset, buffer.source()).await
            });
            assert_eq!((backend, edge), (expected, expected), "at {offset}");
        }
        assert_eq!(disk.driver.writes(), 4, "those at 0");
    });
}

/// `/sync-op/pwritev`
#[test]
fn sync_op_pwritev() {
    with_plain_disk(|bql, disk| {
        for (offset, expected) in [(0, 0), (BEYOND, errno::EIO)] {
            let backend = outcome!(bql, disk, |root| {
                let parts = [Buffer::zeroed(200), Buffer::zeroed(312)];
                let mut vector = SourceVec::new();
                parts.iter().for_each(|part| vector.push(part.source()));
                root.write(offset, vector.source()).await
            });
            assert_eq!(backend, expected, "at {offset}");
        }
        assert_eq!(disk.driver.writes(), 2, "those at 0");
    });
}

/// `/sync-op/preadv_part`
#[test]
fn sync_op_preadv_part() {
    with_plain_disk(|bql, disk| {
        for (offset, expected) in [(0, 0), (BEYOND, errno::EIO)] {
            let backend = outcome!(bql, disk, |root| {
                let mut parts = [Buffer::zeroed(200), Buffer::zeroed(824)];
                let mut vector = DestinationVec::new();
                for part in &mut parts {
                    vector.push(part.destination());
                }
                let (_, part) = vector.destination().split_at(100);
                let (part, _) = part.split_at(512);
                root.read(offset, part).await
            });
            assert_eq!(backend, expected, "at {offset}");
        }
        assert_eq!(disk.driver.reads(), 2, "those at 0");
    });
}

/// `/sync-op/pwrite_compressed`
#[test]
fn sync_op_pwrite_compressed() {
    with_plain_disk(|bql, disk| {
        for (offset, expected) in [(0, errno::ENOTSUP), (BEYOND, errno::EIO)] {
            let backend = outcome!(bql, disk, |root| {
                let buffer = Buffer::zeroed(512);
                let flags = WriteFlags::COMPRESSED;
                root.write_with(offset, buffer.source(), flags).await
            });
            assert_eq!(backend, expected, "at {offset}");
        }
        assert_eq!(disk.driver.writes(), 0);
    });
}

/// `/sync-op/pwrite_zeroes`
#[test]
fn sync_op_pwrite_zeroes() {
    let manner = Manner {
        capabilities: Capabilities {
            zero_flags: Some(WriteFlags::empty()),
            ..Capabilities::default()
        },
        ..Manner::of(SIZE)
    };
    with_disk(manner, NodeOptions::default(), |bql, disk| {
        for (offset, expected) in [(0, 0), (BEYOND, errno::EIO)] {
            let backend = outcome!(bql, disk, |root| {
                root.write_zeroes(offset, 512, WriteFlags::empty()).await
            });
            assert_eq!(backend, expected, "at {offset}");
        }
        assert_eq!(disk.driver.writes(), 2, "those at 0");
    });
}

/// `/sync-op/pdiscard`
#[test]
fn sync_op_pdiscard() {
    for (unmap, reached) in [(true, 2), (false, 0)] {
        let manner = Manner {
            capabilities: Capabilities {
                discards: true,
                ..Capabilities::default()
            },
            ..Manner::of(SIZE)
        };
        let options = NodeOptions {
            unmap,
            ..NodeOptions::default()
        };
        with_disk(manner, options, |bql, disk| {
            for (offset, expected) in [(0, 0), (BEYOND, errno::EIO)] {
                let backend = outcome!(bql, disk, |root| root.discard(offset, 512).await);
                let edge = outcome!(bql, disk, |root| {
                    let in_flight = root.begin().await;
                    let request = in_flight.request().expect("a node");
                    request.discard(offset, 512).await
                });
                assert_eq!((backend, edge), (expected, expected), "at {offset}");
            }
            assert_eq!(disk.driver.discards(), 2 * reached, "unmap={unmap}");
        });
    }
}

/// `/sync-op/block_status`
#[test]
fn sync_op_block_status() {
    for (is_empty, expected) in [(true, [0, 0, 0]), (false, [1, 0, 0])] {
        let manner = Manner {
            is_empty,
            ..Manner::of(SIZE)
        };
        with_disk(manner, NodeOptions::default(), |bql, disk| {
            let ranges = [(0, 512), (0, 0), (SIZE as u64 + 512, 512)];
            let is_allocated = ranges.map(|(offset, bytes)| {
                outcome!(bql, disk, |root| {
                    let in_flight = root.begin().await;
                    let request = in_flight.request().expect("a node");
                    let status = request.block_status(offset, bytes, false).await;
                    let status = status.expect("no error");
                    // A positive answer is no error: the same number says yes.
                    match status.flags.contains(StatusFlags::ALLOCATED) {
                        true => Err(IoError::from_errno(1)),
                        false => Ok(()),
                    }
                })
            });
            assert_eq!(is_allocated, expected);
        });
    }
}

/// `/sync-op/flush`
#[test]
fn sync_op_flush() {
    for (read_only, reached) in [(false, 5), (true, 0)] {
        let options = NodeOptions {
            read_only,
            ..NodeOptions::default()
        };
        with_disk(Manner::of(SIZE), options, |bql, disk| {
            let before = disk.driver.flushes();
            let backend = outcome!(bql, disk, |root| root.flush().await);
            let edge = outcome!(bql, disk, |root| {
                let in_flight = root.begin().await;
                in_flight.request().expect("a node").flush().await
            });
            assert_eq!((backend, edge), (0, 0), "read-only={read_only}");
            disk.front
                .flush_blocking(bql)
                .expect("the main thread may wait");
            assert_eq!(disk.driver.flushes() - before, reached);
        });
    }
}

/// `/sync-op/save_vmstate`
#[test]
fn sync_op_save_vmstate() {
    with_plain_disk(|bql, disk| {
        let before = outcome!(bql, disk, |root| {
            let buffer = Buffer::zeroed(512);
            root.save_vmstate(0, buffer.source()).await
        });
        assert_eq!(before, errno::ENOTSUP);
        let waited = disk.front.wait(bql, async |root| {
            let mut buffer = Buffer::zeroed(512);
            root.load_vmstate(0, buffer.destination()).await
        });
        assert!(waited.is_err(), "nothing was kept");
    });
}

/// `/sync-op/activate`
#[test]
fn sync_op_activate() {
    with_plain_disk(|bql, disk| {
        let node = disk.front.node(bql).expect("inserted");
        let home = node.io().context();
        node.activate(bql).expect("it is active");
        assert_eq!(node.io().context(), home);
        assert!(!node.view(bql).is_inactive());
    });
}
