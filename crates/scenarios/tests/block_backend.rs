//! Backends without a node: the scenarios of `test-block-backend.c`.

use block_common::error::errno;
use block_gs::{Backend, BqlGuard, Perm, drain_all};
use block_io::IoError;
use block_io::aio::{JoinHandle, Wait, yield_now};
use scenarios::in_layer;

/// A flush that has begun and is not over.
fn begin_flush(bql: &mut BqlGuard, front: &Backend) -> JoinHandle<Result<(), IoError>> {
    let root = front.root().clone();
    let flush = bql.context().spawn(async move {
        let in_flight = root.begin().await;
        yield_now().await;
        in_flight.request()?.flush().await
    });
    assert!(!flush.is_finished(), "nothing runs in the call");
    while front.root().in_flight() == 0 {
        bql.poll(Wait::No);
    }
    assert!(!flush.is_finished());
    flush
}

fn assert_no_medium(bql: &mut BqlGuard, flush: JoinHandle<Result<(), IoError>>) {
    assert!(flush.is_finished());
    let error = bql.block_on(flush).expect_err("no medium");
    assert_eq!(error.errno(), errno::ENOMEDIUM);
}

/// `/block-backend/drain_aio_error`: who drains a backend waits for a request
/// that fails because there is no medium, and whose end is a matter of time.
#[test]
fn drain_aio_error() {
    in_layer(|bql| {
        let front = Backend::new(bql, "blk", Perm::empty(), Perm::all()).expect("a backend");
        let flush = begin_flush(bql, &front);
        front.drain(bql).end();
        assert_eq!(front.root().in_flight(), 0);
        assert_no_medium(bql, flush);
    });
}

/// `/block-backend/drain_all_aio_error`: so does a section over everything.
#[test]
fn drain_all_aio_error() {
    in_layer(|bql| {
        let front = Backend::new(bql, "blk", Perm::empty(), Perm::all()).expect("a backend");
        let flush = begin_flush(bql, &front);
        drain_all(bql).end();
        assert_eq!(front.root().in_flight(), 0);
        assert_no_medium(bql, flush);
    });
}
