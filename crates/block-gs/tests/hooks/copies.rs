//! Copies within the host: the second half, which asks the node that is
//! copied to.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use block_common::error::errno;
use block_gs::{Backend, BlockDriver, BqlGuard, Node, NodeBuilder, Perm};
use block_io::{CopyEnd, IoError, WriteFlags};

use crate::common::{Mem, backend, filter, in_layer, node};
use crate::drive::{Drive, open};

const PLAIN: WriteFlags = WriteFlags::empty();

/// Asks `to` for a copy of 512 bytes from `start` of `from`, to `at`.
fn copy(
    bql: &mut BqlGuard,
    from: &Backend,
    start: u64,
    to: &Backend,
    at: u64,
) -> Result<(), IoError> {
    let source = bql.block_on(from.root().begin());
    let target = bql.block_on(to.root().begin());
    let end = CopyEnd {
        request: source.request()?,
        offset: start,
    };
    bql.block_on(target.request()?.copy_range_to(at, end, 512, PLAIN))
}

fn front(bql: &mut BqlGuard, node: &Node) -> Backend {
    backend(bql, &format!("{}-front", node.name()), node)
}

fn filled(byte: u8) -> Drive {
    let drive = Drive::of(4096);
    drive.bytes.lock().expect("no panic").fill(byte);
    drive
}

#[test]
fn a_copy_goes_down_to_where_the_bytes_are_and_arrives_once() {
    in_layer(|bql| {
        let (source, from) = open(bql, "source", filled(7), None);
        let (image, _) = open(bql, "image", Drive::of(0), Some(&source));
        let (target, to) = open(bql, "target", filled(1), None);
        let (over, over_driver) = open(bql, "over", Drive::of(0), Some(&target));
        let fronts = [&image, &over].map(|node| front(bql, node));
        let ends = fronts
            .each_ref()
            .map(|front| bql.block_on(front.root().begin()));
        let [above, below] = ends.each_ref().map(|end| end.request().expect("a node"));
        let end = CopyEnd {
            request: below,
            offset: 2048,
        };
        bql.block_on(above.copy_range(512, end, 512, PLAIN))
            .expect("copied");
        for driver in [&over_driver, &to] {
            assert_eq!(driver.asked(), ["copy 512 from 512 to 2048"]);
        }
        assert_eq!(from.asked(), [""; 0], "it is only read");
        let bytes = to.bytes.lock().expect("no panic").clone();
        assert_eq!(bytes[..2048], [1; 2048]);
        assert_eq!(bytes[2048..2560], [7; 512]);
        assert_eq!(bytes[2560..], [1; 1536]);

        // The second half by itself, at the image and then at its file.
        let end = CopyEnd {
            request: above.file().expect("a file"),
            offset: 0,
        };
        for request in [below, below.file().expect("a file")] {
            let copied = request.copy_range_to(0, end, 512, PLAIN);
            bql.block_on(copied).expect("copied");
            let bytes = to.bytes.lock().expect("no panic").clone();
            assert_eq!((&bytes[..512], bytes[512]), (&[7; 512][..], 1));
            to.bytes.lock().expect("no panic").fill(1);
        }
    });
}

#[test]
fn a_target_that_cannot_is_told_from_one_that_fails() {
    in_layer(|bql| {
        let (source, _) = open(bql, "source", filled(7), None);
        let (target, to) = open(bql, "target", filled(1), None);
        let (plain, _) = node(bql, "plain", Mem::of(4096));
        let [from, good, other] = [&source, &target, &plain].map(|node| front(bql, node));
        let none = copy(bql, &from, 0, &other, 0);
        assert!(matches!(none, Err(IoError::NotSupported)), "no such hook");
        let none = copy(bql, &other, 0, &good, 0);
        assert!(matches!(none, Err(IoError::NotSupported)), "no such source");
        to.fails.store(errno::EIO, Ordering::Relaxed);
        let failed = copy(bql, &from, 0, &good, 0).expect_err("it fails");
        assert_eq!(failed.errno(), errno::EIO);
        assert_eq!(*to.bytes.lock().expect("no panic"), [1; 4096]);
    });
}

#[test]
fn a_target_that_may_not_be_written_is_not_asked() {
    in_layer(|bql| {
        let (source, _) = open(bql, "source", filled(7), None);
        let from = backend(bql, "from", &source);
        let driver = Arc::new(filled(1));
        let builder = NodeBuilder::new("locked").read_only(true);
        let locked = builder.open(bql, driver.clone()).expect("opened");
        let (target, to) = open(bql, "target", filled(1), None);
        let reader = |bql: &mut BqlGuard, node: &Node| {
            let name = format!("{}-reader", node.name());
            let reader = Backend::new(bql, &name, Perm::CONSISTENT_READ, Perm::all());
            let reader = reader.expect("a backend");
            reader.insert(bql, node).expect("inserted");
            reader
        };
        let locked = reader(bql, &locked);
        let refused = copy(bql, &from, 0, &locked, 0);
        assert!(matches!(refused, Err(IoError::ReadOnly)), "{refused:?}");
        let careful = reader(bql, &target);
        let refused = copy(bql, &from, 0, &careful, 0);
        assert!(
            matches!(refused, Err(IoError::Permission(_))),
            "{refused:?}"
        );
        let writer = backend(bql, "writer", &target);
        for (start, at) in [(1 << 63, 0), (0, 1 << 63)] {
            let far = copy(bql, &from, start, &writer, at);
            assert!(matches!(far, Err(IoError::OutOfRange(_))), "{far:?}");
        }
        assert_eq!(driver.asked(), [""; 0]);
        assert_eq!(to.asked(), [""; 0]);
        copy(bql, &from, 0, &writer, 3584).expect("to the very end");
        assert_eq!(to.bytes.lock().expect("no panic")[3584..], [7; 512]);
    });
}

#[test]
fn a_filter_that_passes_nothing_on_takes_no_copies() {
    in_layer(|bql| {
        let (target, to) = open(bql, "target", filled(1), None);
        let (above, driver) = filter(bql, "above", &target);
        let (source, _) = open(bql, "source", filled(7), None);
        let [from, to_filter] = [&source, &above].map(|node| front(bql, node));
        let refused = copy(bql, &from, 0, &to_filter, 0);
        assert!(matches!(refused, Err(IoError::NotSupported)));
        assert!(driver.is_filter());
        assert_eq!(to.asked(), [""; 0]);
    });
}
