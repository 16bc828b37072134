//! Requests that are refused, and requests of nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use block_common::limits::{MAX_LENGTH, MAX_REQUEST};
use block_gs::{Backend, BqlGuard, IoError, NodeOptions, Perm};
use block_io::aio::Wait;
use block_io::{Buffer, CopyEnd, DestinationVec, SourceVec, WriteFlags};

use crate::strict::{Call, Kind, Setup};
use crate::support::{
    GROWING, READ_WRITE, backend, discard, disk, errno, in_layer, pattern, read, strict, unmap,
    write, zeroes,
};

const NONE: WriteFlags = WriteFlags::empty();

#[test]
fn impossible_ranges_are_refused_in_qemus_words() {
    in_layer(|bql| {
        let mut setup = Setup::aligned(512);
        setup.capabilities.zero_flags = Some(NONE);
        setup.capabilities.discards = true;
        let (disk, _node, driver) = disk(bql, vec![1; 1024], setup, unmap(), GROWING);
        let root = disk.root();
        let max = MAX_LENGTH;
        let sum = |offset: u64, bytes: u64| {
            format!("sum of offset({offset}) and bytes({bytes}) exceeds maximum({max})")
        };
        let words = |outcome: Result<(), IoError>| {
            let error = outcome.expect_err("impossible");
            assert_eq!(error.errno(), 5);
            error.to_string()
        };
        for offset in [max, max - 9] {
            let got = bql.block_on(write(root, offset, &[1; 10], NONE));
            assert_eq!(words(got), sum(offset, 10));
            let got = bql.block_on(read(root, offset, 10)).map(drop);
            assert_eq!(words(got), sum(offset, 10));
            let got = bql.block_on(zeroes(root, offset, 10, NONE));
            assert_eq!(words(got), sum(offset, 10));
            assert_eq!(
                words(bql.block_on(discard(root, offset, 10))),
                sum(offset, 10)
            );
        }
        let beyond = format!("offset({}) exceeds maximum({max})", max + 1);
        assert_eq!(words(bql.block_on(write(root, max + 1, &[], NONE))), beyond);
        assert_eq!(
            words(bql.block_on(read(root, max + 1, 0)).map(drop)),
            beyond
        );
        let got = bql.block_on(zeroes(root, 0, max + 1, NONE));
        assert_eq!(
            words(got),
            format!("bytes({}) exceeds maximum({max})", max + 1)
        );
        let got = bql.block_on(zeroes(root, u64::MAX, u64::MAX, NONE));
        assert_eq!(
            words(got),
            format!("bytes({}) exceeds maximum({max})", u64::MAX)
        );
        assert_eq!(words(bql.block_on(discard(root, 1, max))), sum(1, max));
        let status = bql.block_on(async {
            let in_flight = root.begin().await;
            let request = in_flight.request()?;
            request.block_status(max, 1, true).await.map(drop)
        });
        assert_eq!(words(status), sum(max, 1));
        assert!(driver.calls().is_empty());
        // The last byte there can be: just not there.
        assert_eq!(bql.block_on(read(root, max - 1, 1)).expect("zeroes"), [0]);
    });
}

/// Data of 2 GiB and more is refused, in whatever shape; nothing is allocated
/// for it.
#[test]
fn data_requests_have_their_own_limit() {
    in_layer(|bql| {
        let options = NodeOptions::default();
        let (disk, _node, driver) = disk(bql, vec![1; 64], Setup::default(), options, GROWING);
        // One piece of memory, named many times.
        let chunk = Buffer::zeroed(1 << 20);
        let mut vector = SourceVec::new();
        (0..2048).for_each(|_| vector.push(chunk.source()));
        let refused = bql.block_on(async {
            let in_flight = disk.root().begin().await;
            in_flight.request()?.write(0, vector.source()).await
        });
        let error = refused.expect_err("too long");
        let expected = format!("bytes({}) exceeds maximum({MAX_REQUEST})", 2048u64 << 20);
        assert_eq!((error.errno(), error.to_string()), (5, expected));
        assert!(driver.calls().is_empty());
    });
}

#[test]
fn requests_of_nothing_succeed_without_the_driver() {
    in_layer(|bql| {
        let mut setup = Setup::aligned(512);
        setup.capabilities.zero_flags = Some(NONE);
        setup.capabilities.discards = true;
        let (disk, node, driver) = disk(bql, vec![1; 1024], setup, unmap(), GROWING);
        let root = disk.root();
        for offset in [0, 512, 700, 1024, 9999] {
            bql.block_on(write(root, offset, &[], NONE))
                .expect("nothing");
            bql.block_on(write(root, offset, &[], WriteFlags::FUA))
                .expect("nothing");
            assert!(
                bql.block_on(read(root, offset, 0))
                    .expect("nothing")
                    .is_empty()
            );
            bql.block_on(zeroes(root, offset, 0, NONE))
                .expect("nothing");
            bql.block_on(discard(root, offset, 0)).expect("nothing");
        }
        assert!(driver.calls().is_empty());
        assert_eq!(node.io().length(), 1024);
        let vector = SourceVec::new();
        let done = bql.block_on(disk.root().write(0, vector.source()));
        done.expect("a vector of nothing");
        let mut vector = DestinationVec::new();
        let done = bql.block_on(disk.root().read(0, vector.destination()));
        done.expect("a vector of nothing");
    });
}

#[test]
fn nothing_is_written_where_nothing_may_be() {
    in_layer(|bql| {
        let read_only = NodeOptions {
            read_only: true,
            ..unmap()
        };
        let mut setup = Setup::default();
        setup.capabilities.discards = true;
        let (node, driver) = strict(bql, "", vec![1; 1024], setup, read_only);
        let disk = backend(bql, &node, Perm::CONSISTENT_READ);
        let root = disk.root();
        for done in [
            bql.block_on(write(root, 0, &[1; 10], NONE)),
            bql.block_on(write(root, 1, &[], NONE)),
            bql.block_on(zeroes(root, 0, 10, NONE)),
            bql.block_on(discard(root, 0, 10)),
        ] {
            let error = done.expect_err("read-only");
            assert!(matches!(error, IoError::ReadOnly), "{error}");
            assert_eq!(error.errno(), 1);
        }
        assert!(driver.calls().is_empty());
        bql.block_on(read(root, 0, 10)).expect("read");

        let empty = Backend::new(bql, "", READ_WRITE, Perm::all()).expect("a backend");
        let root = empty.root();
        let mut buffer = Buffer::zeroed(10);
        for done in [
            bql.block_on(root.read(0, buffer.destination())),
            bql.block_on(root.write_zeroes(0, 10, NONE)),
            bql.block_on(root.discard(0, 10)),
            bql.block_on(root.flush()),
            bql.block_on(root.length()).map(drop),
        ] {
            assert_eq!(errno(done), 123);
        }
    });
}

/// Each byte is old or new, the error is reported once, and what comes after
/// is not touched by it.
#[test]
fn an_error_in_the_middle_leaves_a_defined_state() {
    in_layer(|bql| {
        for pieces in 0..4 {
            let mut setup = Setup::aligned(64);
            setup.limits.max_transfer = 128;
            let old = pattern(1024, 1);
            let options = NodeOptions::default();
            let (disk, _node, driver) = disk(bql, old.clone(), setup, options, READ_WRITE);
            let new = pattern(512, 2);
            driver.fail(Kind::Write, pieces, 5);
            assert_eq!(errno(bql.block_on(write(disk.root(), 128, &new, NONE))), 5);
            let bytes = driver.bytes();
            let whole = 128 + pieces * 128;
            assert!(bytes[128..whole] == new[..pieces * 128]);
            assert!(bytes[whole + 128..] == old[whole + 128..]);
            assert!(bytes[..128] == old[..128]);
            driver.calls();
            driver.fail(Kind::Read, pieces, 5);
            assert_eq!(errno(bql.block_on(read(disk.root(), 128, 512))), 5);
            assert_eq!(driver.calls().len(), pieces + 1);
            bql.block_on(write(disk.root(), 128, &new, NONE))
                .expect("again");
            assert!(driver.bytes()[128..640] == new);
        }
    });
}

#[test]
fn requests_with_too_many_pieces_are_put_together() {
    in_layer(|bql| {
        let mut setup = Setup::aligned(16);
        setup.limits.max_segments = 3;
        setup.limits.max_transfer = 512;
        let options = NodeOptions::default();
        let (disk, _node, driver) = disk(bql, vec![0; 4096], setup, options, READ_WRITE);
        let buffers: Vec<_> = (0..300u64)
            .map(|seed| Buffer::from(&pattern(10, seed)[..]))
            .collect();
        let mut vector = SourceVec::new();
        buffers
            .iter()
            .for_each(|buffer| vector.push(buffer.source()));
        bql.block_on(disk.root().write(7, vector.source()))
            .expect("written");
        let parts: Vec<_> = buffers.iter().map(Buffer::as_slice).collect();
        assert!(driver.bytes()[7..3007] == parts.concat());
        let mut into: Vec<_> = (0..300).map(|_| Buffer::zeroed(10)).collect();
        let mut vector = DestinationVec::new();
        into.iter_mut()
            .for_each(|buffer| vector.push(buffer.destination()));
        bql.block_on(disk.root().read(7, vector.destination()))
            .expect("read");
        drop(vector);
        let got: Vec<_> = into.iter().map(Buffer::as_slice).collect();
        assert!(got.concat() == parts.concat());
    });
}

#[test]
fn copies_are_checked_at_both_ends() {
    in_layer(|bql| {
        let setup = Setup::aligned(512);
        let options = NodeOptions::default();
        let (from, _, source) = disk(bql, pattern(4096, 1), setup.clone(), options, READ_WRITE);
        let (to, target_node, target) = disk(bql, vec![0; 2048], setup, options, READ_WRITE);
        let growing = backend(bql, &target_node, GROWING);
        let mut copy = |to: &Backend, offset, at, bytes, flags| {
            bql.block_on(async {
                let (source, target) = (from.root().begin().await, to.root().begin().await);
                let end = CopyEnd {
                    request: target.request()?,
                    offset: at,
                };
                source
                    .request()?
                    .copy_range(offset, end, bytes, flags)
                    .await
            })
        };
        copy(&to, 512, 1024, 1024, WriteFlags::FUA).expect("copied");
        assert!(target.bytes()[1024..] == pattern(4096, 1)[512..1536]);
        assert_eq!(
            target.calls(),
            [Call::CopyTo(1024, 1024, NONE), Call::Flush]
        );
        assert_eq!(source.calls(), [Call::CopyFrom(512, 1024)]);
        copy(&to, 0, 0, 0, NONE).expect("nothing");
        for (offset, at, bytes) in [(1, 0, 512), (0, 1, 512), (0, 0, 10), (4096, 0, 512)] {
            let refused = copy(&to, offset, at, bytes, NONE);
            assert!(matches!(refused, Err(IoError::NotSupported)), "{offset}");
        }
        let refused = copy(&to, 0, 2048, 512, NONE);
        assert!(matches!(refused, Err(IoError::Permission(Perm::RESIZE))));
        assert_eq!(errno(copy(&to, MAX_LENGTH, 0, 512, NONE)), 5);
        assert_eq!(errno(copy(&to, 0, MAX_LENGTH, 512, NONE)), 5);
        assert!(target.calls().is_empty());
        copy(&growing, 0, 2048, 512, NONE).expect("grown");
        assert_eq!(target_node.io().length(), 2560);
        target.fail(Kind::Write, 0, 5);
        assert_eq!(errno(copy(&growing, 0, 2560, 512, NONE)), 5);
        assert_eq!(target_node.io().length(), 2560);
    });
}

/// A copy holds its source while it asks for its target. If it waited there,
/// a padded write that overlaps both, and came in between, would wait for the
/// source, and the copy for the write.
#[test]
fn a_copy_does_not_wait_for_who_waits_for_it() {
    in_layer(|bql| {
        let setup = Setup {
            turns: 3,
            ..Setup::aligned(512)
        };
        let options = NodeOptions::default();
        let (disk, _, driver) = disk(bql, vec![1; 2048], setup, options, READ_WRITE);
        let done = Arc::new(AtomicUsize::new(0));
        let write = |bql: &BqlGuard, offset: u64, bytes: usize| {
            let (root, done) = (disk.root().clone(), Arc::clone(&done));
            bql.context().spawn(async move {
                let buffer = Buffer::from(&vec![2; bytes][..]);
                root.write(offset, buffer.source()).await.expect("written");
                done.fetch_add(1, Ordering::Relaxed);
            })
        };
        let _inside_the_source = write(bql, 10, 10);
        let (root, copied) = (disk.root().clone(), Arc::clone(&done));
        let _copy = bql.context().spawn(async move {
            let in_flight = root.begin().await;
            let request = in_flight.request().expect("a node");
            let to = CopyEnd {
                request,
                offset: 512,
            };
            let outcome = request.copy_range(0, to, 512, NONE).await;
            assert!(matches!(outcome, Ok(()) | Err(IoError::NotSupported)));
            copied.fetch_add(1, Ordering::Relaxed);
        });
        let _across_both = write(bql, 500, 100);
        for _ in 0..1000 {
            bql.poll(Wait::No);
        }
        assert_eq!(done.load(Ordering::Relaxed), 3, "they wait for each other");
        assert!(driver.bytes()[500..600] == [2; 100]);
    });
}
