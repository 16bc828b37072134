//! Flushes: how often the disk hears of them.

use std::pin::pin;

use block_gs::{NodeOptions, Perm};
use block_io::WriteFlags;

use crate::strict::{Call, Kind, Setup};
use crate::support::{READ_WRITE, discard, disk, errno, in_layer, poll_once, unmap, write};

const NONE: WriteFlags = WriteFlags::empty();

#[test]
fn only_what_was_written_is_flushed() {
    in_layer(|bql| {
        let mut setup = Setup::default();
        setup.capabilities.discards = true;
        let (disk, _node, driver) = disk(bql, vec![0; 1024], setup, unmap(), READ_WRITE);
        let root = disk.root();
        let flushes = || {
            let calls = driver.calls();
            calls.iter().filter(|&&call| call == Call::Flush).count()
        };
        bql.block_on(root.flush()).expect("flushed");
        assert_eq!(flushes(), 0, "nothing was written yet");
        bql.block_on(write(root, 0, &[1; 10], NONE))
            .expect("written");
        bql.block_on(root.flush()).expect("flushed");
        bql.block_on(root.flush()).expect("flushed");
        assert_eq!(flushes(), 1);
        bql.block_on(discard(root, 0, 10)).expect("discarded");
        bql.block_on(root.flush()).expect("flushed");
        assert_eq!(flushes(), 1, "discards are flushed too");
        bql.block_on(crate::support::zeroes(root, 0, 10, NONE))
            .expect("zeroes");
        bql.block_on(root.flush()).expect("flushed");
        assert_eq!(flushes(), 1);
        driver.fail(Kind::Write, 0, 5);
        assert_eq!(errno(bql.block_on(write(root, 0, &[1; 10], NONE))), 5);
        bql.block_on(root.flush()).expect("flushed");
        assert_eq!(flushes(), 1, "a write that failed may have written");
    });
}

#[test]
fn a_flush_that_failed_is_tried_again() {
    in_layer(|bql| {
        let options = NodeOptions::default();
        let (disk, _node, driver) = disk(bql, vec![0; 1024], Setup::default(), options, READ_WRITE);
        let root = disk.root();
        bql.block_on(write(root, 0, &[1; 10], NONE))
            .expect("written");
        driver.calls();
        driver.fail(Kind::Flush, 0, 5);
        assert_eq!(errno(bql.block_on(root.flush())), 5);
        bql.block_on(root.flush()).expect("flushed");
        bql.block_on(root.flush()).expect("flushed");
        assert_eq!(driver.calls(), [Call::Flush; 2]);
    });
}

#[test]
fn flushes_at_the_same_time_are_one() {
    in_layer(|bql| {
        let setup = Setup {
            turns: 4,
            ..Setup::default()
        };
        let options = NodeOptions::default();
        let (disk, _node, driver) = disk(bql, vec![0; 1024], setup, options, READ_WRITE);
        let root = disk.root();
        bql.block_on(async {
            write(root, 0, &[1; 10], NONE).await.expect("written");
            driver.calls();
            let mut first = pin!(root.flush());
            let mut second = pin!(root.flush());
            let mut third = pin!(root.flush());
            assert!(poll_once(first.as_mut()).await.is_pending());
            assert!(poll_once(second.as_mut()).await.is_pending());
            assert!(poll_once(third.as_mut()).await.is_pending());
            first.await.expect("flushed");
            second.await.expect("flushed");
            third.await.expect("flushed");
        });
        assert_eq!(driver.calls(), [Call::Flush]);
    });
}

/// What was written while a flush runs, it may have missed.
#[test]
fn a_write_during_a_flush_takes_another_one() {
    in_layer(|bql| {
        let setup = Setup {
            turns: 4,
            ..Setup::default()
        };
        let options = NodeOptions::default();
        let (disk, _node, driver) = disk(bql, vec![0; 1024], setup, options, READ_WRITE);
        let root = disk.root();
        bql.block_on(async {
            write(root, 0, &[1; 10], NONE).await.expect("written");
            let mut first = pin!(root.flush());
            assert!(poll_once(first.as_mut()).await.is_pending());
            let mut during = pin!(write(root, 0, &[2; 10], NONE));
            assert!(poll_once(during.as_mut()).await.is_pending());
            first.await.expect("flushed");
            during.await.expect("written");
            driver.calls();
            root.flush().await.expect("flushed");
        });
        assert_eq!(driver.calls(), [Call::Flush]);
    });
}

/// The driver was in the middle of it, or done: nobody knows.
#[test]
fn a_write_that_was_dropped_is_flushed_too() {
    in_layer(|bql| {
        for len in [10, 500] {
            let mut setup = Setup {
                turns: 2,
                ..Setup::default()
            };
            setup.limits.max_transfer = 100;
            let options = NodeOptions::default();
            let (disk, _node, driver) = disk(bql, vec![0; 1024], setup, options, READ_WRITE);
            let root = disk.root();
            bql.block_on(async {
                {
                    let bytes = vec![1; len];
                    let mut dropped = pin!(write(root, 0, &bytes, NONE));
                    assert!(poll_once(dropped.as_mut()).await.is_pending());
                }
                driver.calls();
                root.flush().await.expect("flushed");
            });
            assert_eq!(driver.calls(), [Call::Flush], "{len}");
        }
    });
}

#[test]
fn no_flush_and_read_only_keep_the_disk_out_of_it() {
    in_layer(|bql| {
        let options = NodeOptions {
            no_flush: true,
            ..NodeOptions::default()
        };
        let (front, _node, driver) =
            disk(bql, vec![0; 1024], Setup::default(), options, READ_WRITE);
        bql.block_on(write(front.root(), 0, &[1; 10], NONE))
            .expect("written");
        bql.block_on(front.root().flush()).expect("flushed");
        assert_eq!(driver.calls(), [Call::Write(0, 10, NONE)]);
        let options = NodeOptions {
            read_only: true,
            ..NodeOptions::default()
        };
        let perm = Perm::CONSISTENT_READ;
        let (front, _node, driver) = disk(bql, vec![0; 1024], Setup::default(), options, perm);
        driver.fail(Kind::Flush, 0, 5);
        bql.block_on(front.root().flush()).expect("nothing to do");
    });
}
