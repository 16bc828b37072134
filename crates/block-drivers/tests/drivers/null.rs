//! `null-co` and `null-aio`.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use block_common::error::errno;
use block_common::limits;
use block_drivers::{NullAio, NullAioOptions, NullCo, NullCoOptions};
use block_gs::{GraphError, Perm};
use block_io::{DriverIo, Request};

use crate::support::{
    READ_WRITE, UNTOUCHED, backend, disk, flush, in_layer, read, read_as_parent, write,
    write_as_parent,
};

#[test]
fn a_read_leaves_the_buffer_or_zeroes_it() {
    in_layer(|bql, _| {
        let node = NullCo::new(1000).open(bql, "").expect("opened");
        let disk_of_it = disk(bql, &node);
        let got = read(bql, &disk_of_it, 500, 100).expect("read");
        assert_eq!(got, [UNTOUCHED; 100]);
        write(bql, &disk_of_it, 0, b"forgotten").expect("written");
        flush(bql, &disk_of_it).expect("flushed");
        let crossing = read_as_parent(bql, &disk_of_it, 990, 20).expect("read");
        assert_eq!(crossing[..10], [UNTOUCHED; 10]);
        assert_eq!(crossing[10..], [0; 10], "beyond the end are zeroes");

        let node = NullCo::new(1000).read_zeroes(true).open(bql, "");
        let disk = disk(bql, &node.expect("opened"));
        assert_eq!(read(bql, &disk, 0, 1000).expect("read"), [0; 1000]);
    });
}

#[test]
fn a_slow_one_completes_too_and_is_waited_for_by_a_drain() {
    in_layer(|bql, _| {
        let slow = NullCo::new(4096).latency(Duration::from_millis(5));
        let node = slow.read_zeroes(true).open(bql, "").expect("opened");
        let disk = disk(bql, &node);
        assert_eq!(read(bql, &disk, 0, 512).expect("read"), [0; 512]);
        write(bql, &disk, 0, &[1; 512]).expect("written");

        let root = disk.root().clone();
        let begun = bql.context().spawn(async move { root.flush().await });
        bql.poll_until(|_| disk.root().in_flight() == 1);
        let section = node.drain(bql);
        assert_eq!(disk.root().in_flight(), 0);
        section.end();
        bql.block_on(begun).expect("flushed");
    });
}

#[test]
fn the_size_is_fixed() {
    in_layer(|bql, _| {
        let node = NullCo::new(1000).open(bql, "").expect("opened");
        let disk = backend(bql, &node, READ_WRITE | Perm::RESIZE).expect("nobody objects");
        let full = write_as_parent(bql, &disk, 999, b"ab").expect_err("no space");
        assert_eq!(full.errno(), errno::ENOSPC);
        assert_eq!(node.io().length(), 1000);
    });
}

#[test]
fn a_size_that_no_node_can_have_is_refused() {
    in_layer(|bql, _| {
        let largest = NullCo::new(limits::MAX_LENGTH).open(bql, "largest");
        let disk = disk(bql, &largest.expect("opened"));
        let last = read(bql, &disk, limits::MAX_LENGTH - 1, 1).expect("read");
        assert_eq!(last, [UNTOUCHED]);
        let error = NullCo::new(limits::MAX_LENGTH + 1).open(bql, "larger");
        let error = error.expect_err("too large");
        assert!(matches!(error, GraphError::CouldNotOpen { .. }), "{error}");
    });
}

#[test]
fn through_the_loop_is_never_at_once() {
    in_layer(|bql, _| {
        let node = NullAio::new(1000).read_zeroes(true).open(bql, "");
        let node = node.expect("opened");
        assert_eq!(node.view(bql).driver().format_name(), "null-aio");
        let disk = disk(bql, &node);
        assert_eq!(read(bql, &disk, 0, 1000).expect("read"), [0; 1000]);
        write(bql, &disk, 0, b"forgotten").expect("written");
        flush(bql, &disk).expect("flushed");

        let first_poll = |driver: &dyn DriverIo, request: Request<'_>| {
            let flush = pin!(driver.flush(request));
            flush
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_ready()
        };
        let at_once = NullCo::new(1000).open(bql, "").expect("opened");
        for (node, expected) in [(node, false), (at_once, true)] {
            let done = node
                .drain(bql)
                .io(async |request: Request<'_>| first_poll(request.node().driver(), request));
            assert_eq!(done, expected);
        }
    });
}

#[test]
fn a_gibibyte_unless_told_otherwise() {
    in_layer(|bql, _| {
        let co = NullCoOptions::default().open(bql, "").expect("opened");
        let aio = NullAioOptions::default().open(bql, "").expect("opened");
        assert_eq!([co, aio].map(|node| node.io().length()), [1 << 30; 2]);
    });
}
