//! `blkdebug`: rules and breakpoints, with requests.

use std::sync::{Arc, Mutex};

use block_common::error::errno;
use block_drivers::NullCo;
use block_drivers::blkdebug::{Blkdebug, BlkdebugOptions, InjectError, IoType, Progress, SetState};
use block_gs::{Backend, BlockLayer, BqlGuard, GraphError, Node, Perm};
use block_io::{Buffer, Root, WriteFlags};

fn event(name: &str) -> block_drivers::blkdebug::Event {
    name.parse().expect("an event")
}

/// A disk over a `blkdebug` node over nothing.
fn disk(
    bql: &mut BqlGuard,
    with: impl FnOnce(BlkdebugOptions) -> BlkdebugOptions,
) -> (Node, Backend) {
    let null = NullCo::new(1 << 20).open(bql, "null").expect("opened");
    let node = with(Blkdebug::over(&null))
        .open(bql, "debug")
        .expect("opened");
    let disk = Backend::new(bql, "disk", Perm::all(), Perm::all()).expect("a backend");
    disk.insert(bql, &node).expect("inserted");
    (node, disk)
}

fn read(bql: &mut BqlGuard, root: &Root, offset: u64) -> Result<(), i32> {
    let mut buffer = Buffer::zeroed(512);
    let done = bql.block_on(root.read(offset, buffer.destination()));
    done.map_err(|error| error.errno())
}

fn write(bql: &mut BqlGuard, root: &Root, offset: u64, bytes: usize) -> Result<(), i32> {
    let buffer = Buffer::zeroed(bytes);
    let done = bql.block_on(root.write(offset, buffer.source()));
    done.map_err(|error| error.errno())
}

#[test]
fn requests_fail_as_the_rules_say() {
    let layer = BlockLayer::new().expect("a layer");
    layer.enter(|bql| {
        let mut sector = InjectError::at(event("none"));
        (sector.sector, sector.errno) = (Some(8), errno::ENOSPC);
        let mut flush = InjectError::at(event("none"));
        (flush.iotype, flush.once, flush.immediately) = (Some(IoType::Flush), true, true);
        let (_node, disk) = disk(bql, |options| {
            options.inject_error(sector).inject_error(flush)
        });
        let root = disk.root();
        assert_eq!(read(bql, root, 0), Ok(()));
        assert_eq!(read(bql, root, 4096), Err(errno::ENOSPC));
        assert_eq!(write(bql, root, 3584, 1024), Err(errno::ENOSPC));
        let zeroed = bql.block_on(root.write_zeroes(4096, 4096, WriteFlags::empty()));
        assert_eq!(zeroed.expect_err("hit").errno(), errno::ENOSPC);
        let flushed = bql.block_on(root.flush());
        assert_eq!(flushed.expect_err("once").errno(), errno::EIO);
        assert!(bql.block_on(root.flush()).is_ok());
    });
}

#[test]
fn the_layer_reports_what_it_does_with_a_write() {
    let layer = BlockLayer::new().expect("a layer");
    layer.enter(|bql| {
        // The state counts the events of one padded write, in their order.
        let names = [
            "pwritev_rmw_head",
            "pwritev_rmw_after_head",
            "pwritev_rmw_tail",
            "pwritev_rmw_after_tail",
            "pwritev",
            "pwritev_done",
        ];
        let (_node, disk) = disk(bql, |mut options| {
            for (state, name) in (1..).zip(names) {
                let new_state = state + 1;
                let event = event(name);
                options = options.set_state(SetState {
                    event,
                    state,
                    new_state,
                });
            }
            let mut after_all = InjectError::at(event("pwritev_done"));
            after_all.state = 6;
            options.align(4096).inject_error(after_all)
        });
        let root = disk.root();
        assert_eq!(write(bql, root, 512, 8192), Ok(()));
        assert_eq!(read(bql, root, 0), Err(errno::EIO), "all six have come");
    });
}

#[test]
fn a_breakpoint_holds_a_request_until_it_is_let_go() {
    let layer = BlockLayer::new().expect("a layer");
    layer.enter(|bql| {
        let (node, disk) = disk(bql, |options| options);
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let notes = Arc::clone(&seen);
        let driver = node.driver::<Blkdebug>().expect("its driver");
        driver.observe(Some(Arc::new(move |progress: &Progress<'_>| {
            notes
                .lock()
                .expect("no panic")
                .push(format!("{progress:?}"));
        })));
        assert!(node.set_breakpoint(bql, "no_event", "a").is_err());
        node.set_breakpoint(bql, "pwritev", "a").expect("set");
        let root = disk.root().clone();
        let buffer = Buffer::zeroed(512);
        let write = async move { root.write(0, buffer.source()).await };
        let task = bql.context().spawn(write);
        while !node.is_suspended(bql, "a") {
            bql.poll(block_io::aio::Wait::Until(None));
        }
        assert_eq!(read(bql, disk.root(), 0), Ok(()), "others are not held");
        assert!(node.resume_breakpoint(bql, "b").is_err());
        node.resume_breakpoint(bql, "a").expect("let go");
        bql.block_on(task).expect("written");
        assert!(!node.is_suspended(bql, "a"));
        assert!(node.remove_breakpoint(bql, "a").is_err(), "it held once");
        let seen = seen.lock().expect("no panic");
        assert_eq!(*seen, ["Suspended(\"a\")", "Resuming(\"a\")"]);
    });
}

#[test]
fn a_request_that_is_dropped_is_not_held() {
    let layer = BlockLayer::new().expect("a layer");
    layer.enter(|bql| {
        let (node, disk) = disk(bql, |options| options);
        node.set_breakpoint(bql, "pwritev", "a").expect("set");
        let root = disk.root();
        let buffer = Buffer::zeroed(512);
        let mut write = Box::pin(root.write(0, buffer.source()));
        bql.block_on(std::future::poll_fn(|context| {
            assert!(write.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        }));
        assert!(node.is_suspended(bql, "a"));
        drop(write);
        assert!(!node.is_suspended(bql, "a"));
        // Nothing is counted that a section would wait for.
        let _section = node.drain(bql);
    });
}

#[test]
fn sizes_that_contradict_each_other_are_refused() {
    let layer = BlockLayer::new().expect("a layer");
    layer.enter(|bql| {
        let null = NullCo::new(1 << 20).open(bql, "null").expect("opened");
        type Set = fn(BlkdebugOptions) -> BlkdebugOptions;
        let cases: [(Set, &str); 6] = [
            (|o| o.align(3), "align 3"),
            (|o| o.align(4096).max_transfer(512), "max-transfer 512"),
            (|o| o.opt_write_zero(3), "opt-write-zero 3"),
            (
                |o| o.opt_write_zero(1024).max_write_zero(512),
                "max-write-zero 512",
            ),
            (|o| o.align(4096).opt_discard(512), "opt-discard 512"),
            (
                |o| o.opt_discard(1024).max_discard(1536),
                "max-discard 1536",
            ),
        ];
        for (set, what) in cases {
            let refused = set(Blkdebug::over(&null)).open(bql, "x").expect_err(what);
            assert!(matches!(refused, GraphError::Refused { .. }));
            let message = format!("Cannot meet constraints with {what}");
            assert_eq!(refused.to_string(), message);
        }
    });
}

#[test]
fn limits_cut_requests_and_permissions_are_taken() {
    let layer = BlockLayer::new().expect("a layer");
    layer.enter(|bql| {
        let null = NullCo::new(1 << 30).open(bql, "null").expect("opened");
        let node = Blkdebug::over(&null)
            .max_transfer(4096)
            .take_child_perms(Perm::WRITE)
            .unshare_child_perms(Perm::RESIZE)
            .open(bql, "debug")
            .expect("opened");
        assert_eq!(node.view(bql).limits().max_transfer, 4096);
        let edge = node.view(bql).child("image").expect("its child");
        assert!(edge.perm().contains(Perm::WRITE));
        assert!(!edge.shared().contains(Perm::RESIZE));
        assert_eq!(node.filename(bql), "blkdebug::null-co://");
    });
}
