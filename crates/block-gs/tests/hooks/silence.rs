//! Requests that wait for something outside, and are told to give up.

use std::sync::atomic::Ordering;

use block_common::error::errno;
use block_gs::{Backend, BqlGuard, IoThread, NodeView, Perm, PermPair, Role};
use block_io::aio::JoinHandle;
use block_io::{Buffer, IoError};

use crate::common::{Mem, above, backend, filter, in_layer, spin_until};
use crate::drive::{Drive, open};

fn silent() -> Drive {
    let drive = Drive::of(512);
    drive.silent.store(true, Ordering::Relaxed);
    drive
}

/// Begins a read in `thread`.
fn read(thread: &IoThread, front: &Backend) -> JoinHandle<Result<(), IoError>> {
    let root = front.root().clone();
    thread.context().spawn(async move {
        let mut buffer = Buffer::zeroed(512);
        root.read(0, buffer.destination()).await
    })
}

#[test]
fn requests_that_wait_for_a_server_fail_when_they_are_told_to() {
    in_layer(|bql| {
        let (disk, server) = open(bql, "disk", silent(), None);
        let front = backend(bql, "front", &disk);
        let thread = IoThread::create(bql, "io0").expect("a thread");
        let stuck = [read(&thread, &front), read(&thread, &front)];
        spin_until(bql, || server.waiting() == 2);
        let view: NodeView<'_> = disk.view(bql);
        view.cancel_in_flight(bql);
        assert_eq!(server.given_up.load(Ordering::Relaxed), 1);
        for task in stuck {
            let outcome = bql.block_on(task).expect_err("no answer");
            assert_eq!(outcome.errno(), errno::ECANCELED);
        }
        // That was about those. A later one waits, and is answered.
        let late = read(&thread, &front);
        spin_until(bql, || server.waiting() == 1);
        assert!(!late.is_finished());
        server.silent.store(false, Ordering::Relaxed);
        server.wake();
        bql.block_on(late).expect("answered");
        disk.drain(bql).end();
    });
}

#[test]
fn filters_tell_what_they_show_and_formats_tell_nobody() {
    in_layer(|bql| {
        let (disk, server) = open(bql, "disk", silent(), None);
        let (inner, _) = filter(bql, "inner", &disk);
        let (outer, _) = filter(bql, "outer", &inner);
        let looks_on = Mem {
            child_perms: Some(PermPair {
                perm: Perm::empty(),
                shared: Perm::all(),
            }),
            ..Mem::of(512)
        };
        let (over, _) = above(bql, "over", looks_on, "file", &disk, Role::IMAGE).expect("an image");
        let front = backend(bql, "front", &outer);
        let thread = IoThread::create(bql, "io0").expect("a thread");
        let stuck = read(&thread, &front);
        spin_until(bql, || server.waiting() == 1);
        let tell = |bql: &BqlGuard, view: NodeView<'_>| {
            view.cancel_in_flight(bql);
            server.given_up.load(Ordering::Relaxed)
        };
        assert_eq!(tell(bql, over.view(bql)), 0);
        assert!(!stuck.is_finished());
        assert_eq!(tell(bql, outer.view(bql)), 1);
        let outcome = bql.block_on(stuck).expect_err("no answer");
        assert_eq!(outcome.errno(), errno::ECANCELED);
    });
}
