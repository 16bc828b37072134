//! The limits of a backend: a throttle node that comes and goes under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use block_common::error::errno;
use block_drivers::{
    File, Limit, NullCo, ThrottleConfig, ThrottleGroup, disable_io_limits, enable_io_limits,
    io_limits, set_io_limits, update_io_limits_group,
};
use block_gs::{Backend, BqlGuard, IoThread, Node, NodeOptions, Perm};
use block_io::{Buffer, WriteFlags};

use crate::support::{READ_WRITE, backend, disk, in_layer, keep_busy, meanwhile, read, write};

fn group(name: &str, iops: u64) -> ThrottleGroup {
    ThrottleGroup::new(name, config(iops)).expect("makes sense")
}

fn config(iops: u64) -> ThrottleConfig {
    ThrottleConfig {
        iops_total: Limit::average(iops),
        ..ThrottleConfig::default()
    }
}

fn null(bql: &mut BqlGuard, name: &str) -> Node {
    let null = NullCo::new(1 << 20).read_zeroes(true).open(bql, name);
    null.expect("opened")
}

fn below(bql: &BqlGuard, backend: &Backend) -> String {
    let node = backend.node(bql).expect("a node");
    node.view(bql).skip_implicit_filters().name().to_owned()
}

#[test]
fn a_backend_gets_limits_and_loses_them_and_others_have_none() {
    in_layer(|bql, _| {
        let node = null(bql, "null");
        let (limited, other) = (disk(bql, &node), disk(bql, &node));
        assert_eq!(io_limits(bql, &limited), None);
        let slow = group("slow", 1);
        enable_io_limits(bql, &limited, &slow).expect("enabled");
        assert_eq!(io_limits(bql, &limited), Some(slow.clone()));
        assert_eq!(io_limits(bql, &other), None);
        assert_eq!(other.node(bql).as_ref(), Some(&node));
        assert_eq!(below(bql, &limited), "null");

        // The first is free; the second waits, and nobody else does.
        read(bql, &limited, 0, 512).expect("read");
        let root = limited.root().clone();
        let second = limited.root().spawn(async move {
            let mut buffer = Buffer::zeroed(512);
            root.read(0, buffer.destination()).await
        });
        while slow.waiting() == 0 {
            bql.run_for(Duration::from_millis(1));
        }
        read(bql, &other, 0, 512).expect("it has no limits");
        assert_eq!(slow.waiting(), 1);
        // Without limits it need not wait any longer.
        disable_io_limits(bql, &limited).expect("disabled");
        bql.block_on(second).expect("read");
        assert_eq!(limited.node(bql).as_ref(), Some(&node));
        assert_eq!(io_limits(bql, &limited), None);
        disable_io_limits(bql, &limited).expect("nothing to do");
    });
}

#[test]
fn limits_and_group_change() {
    in_layer(|bql, _| {
        let node = null(bql, "null");
        let backend = disk(bql, &node);
        let (one, two) = (group("one", 1), group("two", 1));
        let refused = set_io_limits(bql, &backend, config(7)).expect_err("no limits");
        assert_eq!(refused.errno(), errno::EINVAL);
        update_io_limits_group(bql, &backend, &one).expect("nothing to do");
        assert_eq!(io_limits(bql, &backend), None);

        enable_io_limits(bql, &backend, &one).expect("enabled");
        let again = enable_io_limits(bql, &backend, &two).expect_err("it has some");
        assert_eq!(again.errno(), errno::EBUSY);
        set_io_limits(bql, &backend, config(7)).expect("possible");
        assert_eq!(one.config(), config(7));
        let wrong = ThrottleConfig {
            iops_read: Limit::average(1),
            ..config(7)
        };
        assert!(set_io_limits(bql, &backend, wrong).is_err());
        assert_eq!(one.config(), config(7));

        let before = backend.node(bql);
        update_io_limits_group(bql, &backend, &one).expect("the same");
        assert_eq!(backend.node(bql), before);
        update_io_limits_group(bql, &backend, &two).expect("moved");
        assert_eq!(backend.node(bql), before);
        assert_eq!(io_limits(bql, &backend), Some(two));
        assert_eq!(below(bql, &backend), "null");
        bql.run_for(Duration::from_millis(1));
        assert_eq!(block_gs::nodes(bql).count(), 2, "there is one filter");

        let empty = Backend::new(bql, "", Perm::empty(), Perm::all()).expect("a backend");
        let refused = enable_io_limits(bql, &empty, &one).expect_err("no node");
        assert_eq!(refused.errno(), errno::ENOMEDIUM);
    });
}

/// What a user sees of a node does not change: it is read-only or not, and space
/// is given back.
#[test]
fn a_limited_node_is_as_it_was() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        File::create(&path, 1 << 20).expect("created");
        let group = group("group", 1_000_000);
        let unmap = NodeOptions {
            unmap: true,
            ..NodeOptions::default()
        };
        let file = File::new(&path).options(unmap).open(bql, "file");
        let backend = disk(bql, &file.expect("opened"));
        enable_io_limits(bql, &backend, &group).expect("enabled");
        write(bql, &backend, 0, &[1; 65536]).expect("written");
        bql.block_on(backend.root().discard(0, 65536))
            .expect("discarded");
        assert_eq!(read(bql, &backend, 0, 512).expect("read"), [0; 512]);
        assert_eq!(backend.perms(bql).perm, READ_WRITE);
        drop(backend);
        bql.run_for(Duration::from_millis(1));

        let file = File::new(&path).read_only(true).open(bql, "file");
        let reader = Backend::new(bql, "", Perm::CONSISTENT_READ, Perm::all());
        let reader = reader.expect("a backend");
        reader
            .insert(bql, &file.expect("opened"))
            .expect("inserted");
        enable_io_limits(bql, &reader, &group).expect("enabled");
        assert!(!reader.node(bql).expect("a node").view(bql).is_writable());
    });
}

/// Who makes the node writable need not know of the limits.
#[test]
fn a_limited_node_becomes_writable_and_read_only_again() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        File::create(&path, 1 << 20).expect("created");
        let file = File::new(&path).read_only(true).open(bql, "file");
        let file = file.expect("opened");
        let backend = backend(bql, &file, Perm::CONSISTENT_READ).expect("nobody objects");
        enable_io_limits(bql, &backend, &group("group", 1_000_000)).expect("enabled");
        let filter = backend.node(bql).expect("a filter");
        let refused = backend.set_perm(bql, READ_WRITE, Perm::all());
        let _ = refused.expect_err("read-only");

        file.set_read_only(bql, false).expect("it can be written");
        assert!(filter.view(bql).is_writable());
        let granted = backend.set_perm(bql, READ_WRITE, Perm::all());
        granted.expect("writable");
        write(bql, &backend, 0, &[1; 512]).expect("written");
        let error = file
            .set_read_only(bql, true)
            .expect_err("there is a writer");
        let text = "Read-only block node 'file' cannot support read-write users";
        assert_eq!(error.to_string(), text);
        assert!(filter.view(bql).is_writable(), "as it was");

        let granted = backend.set_perm(bql, Perm::CONSISTENT_READ, Perm::all());
        granted.expect("less");
        file.set_read_only(bql, true).expect("nobody writes");
        assert!(!filter.view(bql).is_writable());
    });
}

#[test]
fn running_requests_are_unharmed() {
    in_layer(|bql, _| {
        let thread = IoThread::create(bql, "io0").expect("a thread");
        let node = null(bql, "null");
        let backend = disk(bql, &node);
        backend.set_iothread(bql, Some(&thread)).expect("moved");
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
                let root = backend.root().clone();
                backend.root().spawn(async move {
                    let mut buffer = Buffer::zeroed(512);
                    while !stop.load(Ordering::Relaxed) {
                        root.read(0, buffer.destination()).await.expect("read");
                        root.write(512, buffer.source()).await.expect("written");
                        let flags = WriteFlags::MAY_UNMAP;
                        root.write_zeroes(0, 512, flags).await.expect("zeroed");
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let (fast, slow) = (group("fast", 1_000_000), group("slow", 2000));
        let progress = |bql: &mut BqlGuard| {
            let before = done.load(Ordering::Relaxed);
            while done.load(Ordering::Relaxed) == before {
                bql.run_for(Duration::from_millis(1));
            }
        };
        for _ in 0..20 {
            enable_io_limits(bql, &backend, &fast).expect("enabled");
            progress(bql);
            update_io_limits_group(bql, &backend, &slow).expect("moved");
            progress(bql);
            set_io_limits(bql, &backend, config(1000)).expect("changed");
            disable_io_limits(bql, &backend).expect("disabled");
            progress(bql);
        }
        assert_eq!(backend.root().context().name(), thread.context().name());
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            bql.block_on(task);
        }
        assert_eq!(slow.waiting() + fast.waiting(), 0);
    });
}

/// The nodes from the backend on down.
fn names(bql: &BqlGuard, backend: &Backend) -> Vec<String> {
    let top = backend.node(bql).expect("a node");
    let nodes = std::iter::successors(Some(top.view(bql)), |node| node.filter_node());
    nodes.map(|node| node.name().to_owned()).collect()
}

#[test]
fn limits_go_over_the_medium_that_was_inserted_meanwhile() {
    in_layer(|bql, _| {
        let (one, two) = (null(bql, "one"), null(bql, "two"));
        let backend = disk(bql, &one);
        keep_busy(bql, &backend);
        let (main, changed, to) = (bql.main_loop(), backend.clone(), two.clone());
        let change = bql
            .context()
            .clone()
            .spawn(async move { main.call(move |bql| changed.replace(bql, &to)).await });
        let group = group("group", 1);
        enable_io_limits(bql, &backend, &group).expect("enabled");
        let changed = bql.block_on(change).expect("the main loop is here");
        changed.expect("nobody minds");
        assert_eq!(io_limits(bql, &backend), Some(group));
        assert_eq!(names(bql, &backend)[1..], ["two"]);
        bql.run_for(Duration::from_millis(1));
        assert_eq!(block_gs::nodes(bql).count(), 3, "one filter is left");
    });
}

/// Whether the other medium comes before the limits or after them, it is there
/// in the end.
#[test]
fn limits_do_not_bring_the_old_medium_back() {
    in_layer(|bql, _| {
        let (one, two) = (null(bql, "one"), null(bql, "two"));
        let backend = disk(bql, &one);
        let (changed, to) = (backend.clone(), two.clone());
        let _device = meanwhile(bql, &backend, move |bql| {
            changed.replace(bql, &to).expect("nobody minds");
        });
        let group = group("group", 1);
        enable_io_limits(bql, &backend, &group).expect("enabled");
        bql.run_for(Duration::from_millis(20));
        let names = names(bql, &backend);
        assert_eq!(names.last().map(String::as_str), Some("two"), "{names:?}");
    });
}

#[test]
fn another_group_leaves_what_is_below_the_limits_alone() {
    in_layer(|bql, _| {
        let (one, two) = (null(bql, "one"), null(bql, "two"));
        let backend = disk(bql, &one);
        let (before, after) = (group("before", 1), group("after", 1));
        enable_io_limits(bql, &backend, &before).expect("enabled");
        let filter = backend.node(bql).expect("a filter");
        keep_busy(bql, &backend);
        let (main, to) = (bql.main_loop(), two.clone());
        let change = bql.context().clone().spawn(async move {
            let replace = move |bql: &mut BqlGuard| filter.drain(bql).replace_child("file", &to);
            main.call(replace).await
        });
        update_io_limits_group(bql, &backend, &after).expect("moved");
        let changed = bql.block_on(change).expect("the main loop is here");
        changed.expect("nobody minds");
        assert_eq!(io_limits(bql, &backend), Some(after));
        assert_eq!(names(bql, &backend)[1..], ["two"]);
    });
}
