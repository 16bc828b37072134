//! Flags of writes: what the driver gets, and what the layer does itself.

use block_gs::{Backend, BqlGuard, DetectZeroes, IoError, NodeOptions};
use block_io::{Capabilities, Perm, WriteFlags};

use crate::strict::{Call, Kind, Setup};
use crate::support::{READ_WRITE, backend, disk, errno, in_layer, pattern, unmap, write, zeroes};

const FUA: WriteFlags = WriteFlags::FUA;
const NONE: WriteFlags = WriteFlags::empty();

fn native_fua(setup: Setup) -> Setup {
    Setup {
        capabilities: Capabilities {
            write_flags: FUA,
            ..setup.capabilities
        },
        ..setup
    }
}

fn in_pieces(bytes: u64) -> Setup {
    let mut setup = Setup::default();
    setup.limits.max_transfer = bytes;
    setup
}

fn fua_write(bql: &mut BqlGuard, disk: &Backend, offset: u64, len: usize) {
    let bytes = pattern(len, 3);
    let done = write(disk.root(), offset, &bytes, FUA);
    bql.block_on(done).expect("written");
}

#[test]
fn one_flush_stands_for_fua_however_many_pieces() {
    in_layer(|bql| {
        let (disk, _node, driver) = disk(
            bql,
            vec![0; 1024],
            in_pieces(100),
            NodeOptions::default(),
            READ_WRITE,
        );
        fua_write(bql, &disk, 0, 250);
        let piece = |offset, bytes| Call::Write(offset, bytes, NONE);
        assert_eq!(
            driver.calls(),
            [piece(0, 100), piece(100, 100), piece(200, 50), Call::Flush]
        );
        fua_write(bql, &disk, 0, 10);
        assert_eq!(driver.calls(), [piece(0, 10), Call::Flush]);
    });
}

#[test]
fn a_driver_that_knows_fua_gets_it_with_each_piece_and_no_flush() {
    in_layer(|bql| {
        let (disk, _node, driver) = disk(
            bql,
            vec![0; 1024],
            native_fua(in_pieces(100)),
            NodeOptions::default(),
            READ_WRITE,
        );
        fua_write(bql, &disk, 0, 150);
        let piece = |offset, bytes| Call::Write(offset, bytes, FUA);
        assert_eq!(driver.calls(), [piece(0, 100), piece(100, 50)]);
    });
}

#[test]
fn a_failed_write_is_not_flushed() {
    in_layer(|bql| {
        let (disk, _node, driver) = disk(
            bql,
            vec![0; 1024],
            in_pieces(100),
            NodeOptions::default(),
            READ_WRITE,
        );
        driver.fail(Kind::Write, 1, 28);
        let done = write(disk.root(), 0, &[1; 300], FUA);
        assert_eq!(errno(bql.block_on(done)), 28);
        assert_eq!(
            driver.calls(),
            [Call::Write(0, 100, NONE), Call::Write(100, 100, NONE)]
        );
        // And a flush that fails fails the write.
        driver.fail(Kind::Flush, 0, 5);
        let done = write(disk.root(), 0, &[1; 10], FUA);
        assert_eq!(errno(bql.block_on(done)), 5);
    });
}

#[test]
fn zero_writes_are_flushed_once_in_whatever_pieces() {
    in_layer(|bql| {
        for zero_flags in [None, Some(FUA), Some(NONE)] {
            let mut setup = Setup::aligned(512);
            setup.limits.max_zeroes = 1024;
            setup.capabilities.zero_flags = zero_flags;
            let options = NodeOptions::default();
            let (disk, _node, driver) = disk(bql, pattern(8192, 1), setup, options, READ_WRITE);
            let done = zeroes(disk.root(), 100, 5000, FUA);
            bql.block_on(done).expect("zeroes");
            let calls = driver.calls();
            let flushes = calls.iter().filter(|&&call| call == Call::Flush).count();
            assert_eq!(
                (flushes, calls.last()),
                (1, Some(&Call::Flush)),
                "{calls:?}"
            );
            let durable = |call: &Call| match call {
                Call::Write(_, _, flags) | Call::Zeroes(_, _, flags) => flags.contains(FUA),
                _ => false,
            };
            assert!(!calls.iter().any(durable), "{calls:?}");
            assert!(driver.bytes()[100..5100].iter().all(|&byte| byte == 0));
        }
    });
}

/// QEMU drops the flag on such a node (`BDRV_O_NO_FLUSH`).
#[test]
fn nothing_is_durable_without_flushes() {
    in_layer(|bql| {
        for native in [false, true] {
            let setup = match native {
                true => native_fua(Setup::aligned(512)),
                false => Setup::aligned(512),
            };
            let options = NodeOptions {
                no_flush: true,
                ..NodeOptions::default()
            };
            let (disk, _node, driver) = disk(bql, vec![0; 1024], setup, options, READ_WRITE);
            for (offset, len) in [(0, 512), (10, 10)] {
                fua_write(bql, &disk, offset, len);
            }
            let done = zeroes(disk.root(), 0, 512, FUA);
            bql.block_on(done).expect("zeroes");
            bql.block_on(disk.root().flush()).expect("nothing to do");
            let calls = driver.calls();
            let plain = |call: &Call| match call {
                Call::Write(_, _, flags) => flags.is_empty(),
                Call::Read(..) => true,
                _ => false,
            };
            assert!(calls.iter().all(plain), "{calls:?}");
        }
    });
}

#[test]
fn without_a_write_cache_each_write_is_durable() {
    in_layer(|bql| {
        let (disk, _node, driver) = disk(bql, vec![0; 1024], Setup::default(), unmap(), READ_WRITE);
        disk.set_write_cache(bql, false);
        assert!(!disk.root().has_write_cache());
        let buffer = block_io::Buffer::zeroed(100);
        bql.block_on(disk.root().write(0, buffer.source()))
            .expect("written");
        assert_eq!(driver.calls(), [Call::Write(0, 100, NONE), Call::Flush]);
        let done = disk.root().write_zeroes(0, 50, NONE);
        bql.block_on(done).expect("zeroes");
        assert_eq!(driver.calls(), [Call::Write(0, 50, NONE), Call::Flush]);
        disk.set_write_cache(bql, true);
        bql.block_on(disk.root().write(0, buffer.source()))
            .expect("written");
        assert_eq!(driver.calls(), [Call::Write(0, 100, NONE)]);
    });
}

#[test]
fn what_must_not_be_slow_is_refused_before_anything_happens() {
    in_layer(|bql| {
        let mut setup = Setup::aligned(512);
        setup.capabilities.zero_flags = Some(NONE);
        let (front, _node, driver) = disk(
            bql,
            vec![1; 4096],
            setup,
            NodeOptions::default(),
            READ_WRITE,
        );
        let fast = WriteFlags::NO_FALLBACK;
        let refused = |outcome| matches!(outcome, Err(IoError::NotSupported));
        // Blocks would have to be read.
        assert!(refused(bql.block_on(zeroes(front.root(), 1, 511, fast))));
        assert!(refused(bql.block_on(write(
            front.root(),
            1,
            &[0; 511],
            fast
        ))));
        assert!(driver.calls().is_empty());
        bql.block_on(zeroes(front.root(), 512, 512, fast))
            .expect("native");
        bql.block_on(write(front.root(), 0, &[7; 512], fast))
            .expect("aligned");
        assert_eq!(
            driver.calls(),
            [Call::Zeroes(512, 512, NONE), Call::Write(0, 512, NONE)]
        );
        // Zeroes would have to be written.
        let (front, _node, driver) = disk(
            bql,
            vec![1; 4096],
            Setup::default(),
            NodeOptions::default(),
            READ_WRITE,
        );
        assert!(refused(bql.block_on(zeroes(front.root(), 0, 512, fast))));
        assert!(driver.calls().is_empty());
        bql.block_on(zeroes(front.root(), 0, 512, NONE))
            .expect("written");
        assert_eq!(driver.calls(), [Call::Write(0, 512, NONE)]);
    });
}

#[test]
fn data_is_not_stored_uncompressed_instead() {
    in_layer(|bql| {
        let (disk, node, driver) = disk(
            bql,
            vec![1; 4096],
            Setup::aligned(512),
            NodeOptions::default(),
            READ_WRITE,
        );
        let told = std::sync::Arc::new(std::sync::Mutex::new(0));
        let counter = std::sync::Arc::clone(&told);
        let tell = move |_: &str, _, _| *counter.lock().expect("no panic") += 1;
        node.drain(bql).set_write_threshold(100, tell);
        for (offset, len) in [(0, 512), (10, 20)] {
            let bytes = pattern(len, 1);
            let done = write(disk.root(), offset, &bytes, WriteFlags::COMPRESSED);
            assert!(matches!(bql.block_on(done), Err(IoError::NotSupported)));
        }
        assert!(driver.calls().is_empty());
        assert_eq!(*told.lock().expect("no panic"), 0);
    });
}

#[test]
fn unchanged_data_takes_a_lesser_permission() {
    in_layer(|bql| {
        let (node, driver) =
            crate::support::strict(bql, "disk", vec![1; 1024], Setup::default(), unmap());
        let perm = Perm::CONSISTENT_READ | Perm::WRITE_UNCHANGED;
        let disk = backend(bql, &node, perm);
        let refused = |outcome| matches!(outcome, Err(IoError::Permission(Perm::WRITE)));
        let root = disk.root();
        assert!(refused(bql.block_on(write(root, 0, &[1; 10], NONE))));
        assert!(refused(bql.block_on(zeroes(root, 0, 10, NONE))));
        assert!(refused(bql.block_on(root.discard(0, 10))));
        assert!(driver.calls().is_empty());
        let same = WriteFlags::UNCHANGED;
        bql.block_on(write(root, 0, &[1; 10], same))
            .expect("allowed");
        bql.block_on(zeroes(root, 0, 10, same)).expect("allowed");
        assert_eq!(driver.calls(), [Call::Write(0, 10, NONE); 2]);
    });
}

/// The flags that a request brings along keep their meaning when its zeroes
/// are found out.
#[test]
fn zeroes_found_out_keep_the_flags() {
    in_layer(|bql| {
        let mut setup = Setup::default();
        setup.capabilities.zero_flags = Some(WriteFlags::MAY_UNMAP);
        let options = NodeOptions {
            detect_zeroes: DetectZeroes::On,
            ..unmap()
        };
        let (disk, _node, driver) = disk(bql, vec![1; 1024], setup, options, READ_WRITE);
        bql.block_on(write(disk.root(), 0, &[0; 100], FUA))
            .expect("zeroes");
        assert_eq!(driver.calls(), [Call::Zeroes(0, 100, NONE), Call::Flush]);
        // What is to be compressed is left alone.
        let done = write(disk.root(), 0, &[0; 100], WriteFlags::COMPRESSED);
        assert!(matches!(bql.block_on(done), Err(IoError::NotSupported)));
    });
}
