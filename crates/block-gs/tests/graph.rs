//! Operations on the graph: what they do, what they refuse and in which
//! words, and that a refusal leaves everything as it was.

mod common;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use block_gs::{
    Backend, BqlGuard, EdgeParent, GraphError, Node, NodeBuilder, Parent, Perm, PermPair, Role,
    nodes,
};
use block_io::aio::Wait;
use common::{Mem, above, backend, child_name, filter, in_layer, node, picture};

fn refused(result: Result<(), GraphError>) -> String {
    result.expect_err("should be refused").to_string()
}

#[test]
fn a_backing_image_is_set_replaced_and_removed() {
    in_layer(|bql| {
        let (one, _) = node(bql, "one", Mem::of(512));
        let (two, _) = node(bql, "two", Mem::of(512));
        let (top, _) = node(bql, "top", Mem::overlay(512));
        top.drain(bql).set_backing(Some(&one)).expect("set");
        assert_eq!(child_name(bql, &top, "backing").as_deref(), Some("one"));
        top.drain(bql).set_backing(Some(&two)).expect("replaced");
        assert_eq!(child_name(bql, &top, "backing").as_deref(), Some("two"));
        assert_eq!(one.view(bql).parents().count(), 0);
        top.drain(bql).set_backing(None).expect("removed");
        assert_eq!(child_name(bql, &top, "backing"), None);
    });
}

#[test]
fn refusals_use_the_known_words_and_change_nothing() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::overlay(512));
        let (top, _) =
            above(bql, "top", Mem::overlay(512), "backing", &base, Role::COW).expect("opened");
        let (plain, _) = node(bql, "plain", Mem::of(512));
        let before = picture(bql);

        assert_eq!(
            refused(base.drain(bql).set_backing(Some(&top))),
            "Making 'top' a backing child of 'base' would create a cycle"
        );
        assert_eq!(
            refused(plain.drain(bql).set_backing(Some(&base))),
            "Driver 'mem' of node 'plain' does not support backing files"
        );
        assert_eq!(
            refused(top.drain(bql).detach_child("file")),
            "Node 'top' does not have child 'file'"
        );
        assert_eq!(
            refused(base.drain(bql).append(&top)),
            "The node 'top' already has a backing image"
        );
        assert_eq!(
            refused(top.drain(bql).drop_filter()),
            "Node 'top' is not a filter"
        );
        let frozen = top.freeze_chain(bql, &base).expect("frozen");
        assert_eq!(
            refused(top.drain(bql).set_backing(Some(&plain))),
            "Cannot change frozen 'backing' link from 'top' to 'base'"
        );
        assert_eq!(
            refused(base.drain(bql).replace_with(&plain)),
            "Cannot change 'backing' link to 'base'"
        );
        assert_eq!(
            top.freeze_chain(bql, &base).expect_err("twice").to_string(),
            "Cannot change 'backing' link from 'top' to 'base'"
        );
        assert!(top.is_chain_frozen(bql, &base).expect("a chain"));
        frozen.thaw(bql);
        assert!(!top.is_chain_frozen(bql, &base).expect("a chain"));
        assert_eq!(picture(bql), before);
        top.drain(bql).set_backing(Some(&plain)).expect("thawed");
    });
}

#[test]
fn names_are_checked() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let _front = backend(bql, "front", &disk);
        let mut open = |name: &str| {
            let driver = Arc::new(Mem::of(512));
            NodeBuilder::new(name)
                .open(bql, driver)
                .map(|node| node.name().to_owned())
        };
        let text = |result: Result<String, GraphError>| result.expect_err(" ").to_string();
        assert_eq!(text(open("disk")), "Duplicate nodes with node-name='disk'");
        assert_eq!(
            text(open("front")),
            "node-name=front is conflicting with a device id"
        );
        assert_eq!(text(open("0x")), "Invalid node-name: '0x'");
        assert!(open("").expect("named").starts_with("#block"));
        let again = Backend::new(bql, "front", Perm::empty(), Perm::all());
        assert_eq!(
            again.expect_err("taken").to_string(),
            "Device with id 'front' already exists"
        );
    });
}

#[test]
fn filters_are_inserted_and_dropped_under_a_backend() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let front = backend(bql, "front", &disk);
        let before = picture(bql);
        let (top, _) = filter(bql, "top", &disk);
        disk.drain(bql).replace_with(&top).expect("inserted");
        assert_eq!(front.node(bql), Some(top.clone()));
        assert_eq!(child_name(bql, &top, "file").as_deref(), Some("disk"));
        assert_eq!(
            top.view(bql).cumulative_perm(),
            Perm::CONSISTENT_READ | Perm::WRITE
        );
        assert_eq!(
            disk.view(bql).cumulative_perm(),
            Perm::CONSISTENT_READ | Perm::WRITE
        );
        top.drain(bql).drop_filter().expect("dropped");
        assert_eq!(front.node(bql), Some(disk));
        drop(top);
        bql.poll(Wait::No);
        assert_eq!(picture(bql), before);
    });
}

#[test]
fn appending_redirects_everybody_above() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::of(512));
        let fronts: Vec<_> = (0..3)
            .map(|i| backend(bql, &format!("front{i}"), &base))
            .collect();
        let (overlay, _) = node(bql, "overlay", Mem::overlay(512));
        base.drain(bql).append(&overlay).expect("appended");
        for front in fronts {
            assert_eq!(front.node(bql), Some(overlay.clone()));
        }
        assert_eq!(
            child_name(bql, &overlay, "backing").as_deref(),
            Some("base")
        );
        assert_eq!(base.view(bql).parents().count(), 1);
    });
}

/// The new permissions are checked against the whole new graph: the backend
/// shares no writes on the node, but the filter's other edge wants some.
#[test]
fn appending_is_refused_when_the_new_graph_conflicts() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let front =
            Backend::new(bql, "front", Perm::WRITE, Perm::all() - Perm::WRITE).expect("a backend");
        let pass = Mem {
            filter: true,
            child_perms: None,
            ..Mem::default()
        };
        let (top, _) = above(bql, "top", pass, "data", &disk, Role::DATA).expect("opened");
        front.insert(bql, &disk).expect("inserted");
        let before = picture(bql);
        let text = refused(disk.drain(bql).append(&top));
        assert!(
            text.starts_with("Permission conflict on node 'disk'"),
            "{text}"
        );
        assert_eq!(picture(bql), before);
        assert_eq!(front.node(bql), Some(disk));
    });
}

/// The permissions of a node on its way out do not count.
#[test]
fn a_writer_is_replaced_by_its_equal() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::of(512));
        let exclusive = PermPair {
            perm: Perm::WRITE,
            shared: Perm::all() - Perm::WRITE,
        };
        let (one, _) = filter(bql, "one", &base);
        let (two, _) = filter(bql, "two", &base);
        let top = Mem {
            child_perms: Some(exclusive),
            ..Mem::default()
        };
        let (top, _) =
            above(bql, "top", top, "file", &one, Role::DATA | Role::PRIMARY).expect("opened");
        one.drain(bql).replace_with(&two).expect("replaced");
        assert_eq!(child_name(bql, &top, "file").as_deref(), Some("two"));
    });
}

/// Permissions are checked when all changes are in place, so a filter may
/// want for itself what the backend above it wanted before.
#[test]
fn a_greedy_filter_is_appended() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::of(512));
        let exclusive = PermPair {
            perm: Perm::WRITE,
            shared: Perm::all() - Perm::WRITE,
        };
        let front =
            Backend::new(bql, "front", exclusive.perm, exclusive.shared).expect("a backend");
        front.insert(bql, &base).expect("inserted");
        let greedy = Mem {
            filter: true,
            child_perms: Some(exclusive),
            ..Mem::default()
        };
        let (greedy, _) = node(bql, "greedy", greedy);
        base.drain(bql).append(&greedy).expect("appended");
        assert_eq!(front.node(bql), Some(greedy));
    });
}

/// The edge of the new node itself is not redirected: that would be a loop.
#[test]
fn what_lies_below_the_new_node_keeps_its_edges() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let front = backend(bql, "front", &disk);
        let (target, _) = above(
            bql,
            "target",
            Mem::overlay(512),
            "backing",
            &disk,
            Role::COW,
        )
        .expect("opened");
        let (top, _) =
            above(bql, "top", Mem::filter(), "target", &target, Role::DATA).expect("opened");
        disk.drain(bql).append(&top).expect("appended");
        assert_eq!(front.node(bql), Some(top));
        assert_eq!(child_name(bql, &target, "backing").as_deref(), Some("disk"));
    });
}

#[test]
fn conflicts_name_both_sides() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let writer = Backend::new(bql, "writer", Perm::WRITE, Perm::all()).expect("a backend");
        writer.insert(bql, &disk).expect("inserted");
        let jealous =
            Backend::new(bql, "", Perm::CONSISTENT_READ, Perm::CONSISTENT_READ).expect("a backend");
        let before = picture(bql);
        assert_eq!(
            refused(jealous.insert(bql, &disk)),
            "Permission conflict on node 'disk': permissions 'write' are both required by block \
             device 'writer' (uses node 'disk' as 'root' child) and unshared by an unnamed block \
             device (uses node 'disk' as 'root' child)."
        );
        assert_eq!(picture(bql), before);
        assert_eq!(jealous.root().quiesce_count(), 0);
        writer
            .set_perm(bql, Perm::empty(), Perm::all())
            .expect("loosened");
        jealous.insert(bql, &disk).expect("inserted");
        let text = refused(writer.set_perm(bql, Perm::RESIZE, Perm::all()));
        assert!(text.contains("permissions 'resize'"), "{text}");
        assert_eq!(writer.perms(bql).perm, Perm::empty());
    });
}

#[test]
fn a_read_only_node_has_no_writers() {
    in_layer(|bql| {
        let driver = Arc::new(Mem::of(512));
        let disk = NodeBuilder::new("disk")
            .read_only(true)
            .open(bql, driver)
            .expect("opened");
        let writer = Backend::new(bql, "w", Perm::WRITE, Perm::all()).expect("a backend");
        assert_eq!(
            refused(writer.insert(bql, &disk)),
            "Block node is read-only"
        );
        let reader = Backend::new(bql, "r", Perm::CONSISTENT_READ, Perm::all()).expect("a backend");
        reader.insert(bql, &disk).expect("inserted");
    });
}

#[test]
fn a_transaction_is_all_or_nothing() {
    in_layer(|bql| {
        let (a, _) = node(bql, "a", Mem::overlay(512));
        let (b, _) = node(bql, "b", Mem::overlay(512));
        let (base, _) = node(bql, "base", Mem::of(512));
        let before = picture(bql);
        {
            let mut section = a.drain(bql);
            let mut changes = section.transaction();
            changes.set_backing(Some(&base));
            changes.at(&b).set_backing(Some(&base));
            changes.at(&base).set_backing(Some(&a));
            let text = refused(changes.commit());
            assert!(text.contains("does not support backing files"), "{text}");
        }
        assert_eq!(picture(bql), before);
        {
            let mut section = a.drain(bql);
            let mut changes = section.transaction();
            changes.set_backing(Some(&base));
            drop(changes);
        }
        assert_eq!(picture(bql), before, "dropped, not committed");
        let mut section = a.drain(bql);
        let mut changes = section.transaction();
        changes.set_backing(Some(&base));
        changes.at(&b).set_backing(Some(&base));
        changes.commit().expect("both");
        drop(section);
        assert_eq!(base.view(bql).parents().count(), 2);
    });
}

#[test]
fn a_refusing_driver_rolls_everything_back() {
    in_layer(|bql| {
        let (base, base_driver) = node(bql, "base", Mem::of(512));
        let _front = backend(bql, "front", &base);
        let before = picture(bql);
        let aborts = base_driver.perm_aborts.load(Ordering::Relaxed);
        let stubborn = Mem {
            filter: true,
            refuse_perms: true,
            ..Mem::default()
        };
        let driver = Arc::new(stubborn);
        let error = NodeBuilder::new("stubborn")
            .child("file", &base, Role::FILTERED | Role::PRIMARY)
            .open(bql, driver)
            .expect_err("refused");
        assert_eq!(error.to_string(), "the test driver refuses");
        bql.poll(Wait::No);
        assert_eq!(picture(bql), before);
        assert!(base_driver.perm_aborts.load(Ordering::Relaxed) >= aborts);
    });
}

#[test]
fn a_panicking_driver_rolls_everything_back() {
    struct Panics;
    impl block_io::DriverIo for Panics {
        fn read<'r>(
            &'r self,
            _request: block_io::Request<'r>,
            _offset: u64,
            _into: block_io::Destination<'r>,
        ) -> block_io::IoFuture<'r> {
            block_io::IoFuture::done()
        }
        fn length<'r>(&'r self, _request: block_io::Request<'r>) -> block_io::IoFuture<'r, u64> {
            block_io::IoFuture::ready(Ok(0))
        }
    }
    impl block_gs::BlockDriver for Panics {
        fn format_name(&self) -> &'static str {
            "panics"
        }
        fn child_perm(&self, _bql: &BqlGuard, _query: &block_gs::ChildPermQuery<'_>) -> PermPair {
            panic!("in a callback")
        }
    }
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::of(512));
        let before = picture(bql);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            NodeBuilder::new("p")
                .child("file", &base, Role::DATA)
                .open(bql, Arc::new(Panics))
                .map(drop)
        }));
        assert!(outcome.is_err());
        bql.poll(Wait::No);
        assert_eq!(picture(bql), before);
    });
}

#[test]
fn nodes_live_as_long_as_somebody_refers_to_them() {
    in_layer(|bql| {
        let (base, base_driver) = node(bql, "base", Mem::of(512));
        let (top, top_driver) = filter(bql, "top", &base);
        drop(base);
        bql.poll(Wait::No);
        assert_eq!(
            base_driver.closed.load(Ordering::Relaxed),
            0,
            "top refers to it"
        );
        drop(top);
        while bql.poll(Wait::No) {}
        assert_eq!(top_driver.closed.load(Ordering::Relaxed), 1);
        assert_eq!(base_driver.closed.load(Ordering::Relaxed), 1);
        // Once as it gives its image away, and once by the layer.
        assert_eq!(top_driver.flushes.load(Ordering::Relaxed), 2);
        assert_eq!(nodes(bql).count(), 0);
    });
}

/// A node without references is closed by the main loop; an operation that
/// it would stand in the way of does not have to wait for that.
#[test]
fn what_is_dead_conflicts_with_nobody() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::of(512));
        let jealous = Mem {
            child_perms: Some(PermPair {
                perm: Perm::WRITE,
                shared: Perm::empty(),
            }),
            ..Mem::default()
        };
        let (first, _) = above(bql, "first", jealous, "file", &base, Role::DATA).expect("opened");
        let front = Backend::new(bql, "front", Perm::WRITE, Perm::all()).expect("a backend");
        assert!(front.insert(bql, &base).is_err());
        drop(first);
        front.insert(bql, &base).expect("nobody else is left");
    });
}

#[test]
fn the_monitor_deletes_what_it_owns_and_nobody_uses() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::of(512));
        assert_eq!(
            refused(base.clone().delete(bql)),
            "Node base is not owned by the monitor"
        );
        base.set_monitor_owned(bql);
        let (top, _) = filter(bql, "top", &base);
        assert_eq!(
            refused(base.clone().delete(bql)),
            "Block device base is in use"
        );
        let front = backend(bql, "front", &top);
        assert_eq!(refused(top.clone().delete(bql)), "Node top is in use");
        front.remove(bql);
        drop((front, top));
        while bql.poll(Wait::No) {}
        base.delete(bql).expect("deleted");
        while bql.poll(Wait::No) {}
        assert_eq!(nodes(bql).count(), 0);
    });
}

#[test]
fn a_dropped_block_layer_closes_everything() {
    let layer = block_gs::BlockLayer::new().expect("a block layer");
    let kept = layer.enter(|bql| {
        let (base, driver) = node(bql, "base", Mem::of(512));
        let (top, _) = filter(bql, "top", &base);
        base.set_monitor_owned(bql);
        let front = backend(bql, "front", &top);
        block_gs::IoThread::create(bql, "io0").expect("an iothread");
        (base, driver, top, front)
    });
    drop(layer);
    assert_eq!(kept.1.closed.load(Ordering::Relaxed), 1);
    // Handles and roots may outlive it; there is no medium then.
    let in_flight = kept.3.root().try_begin().expect("not quiesced");
    assert!(in_flight.request().is_err());
}

/// A parent that stays at its node is not redirected.
#[test]
fn a_job_stays_at_its_node() {
    struct Job;
    impl EdgeParent for Job {
        fn describe(&self) -> String {
            "test job 'j'".into()
        }
        fn stays_at_node(&self) -> bool {
            true
        }
    }
    in_layer(|bql| {
        let (one, _) = node(bql, "one", Mem::of(512));
        let (two, _) = node(bql, "two", Mem::of(512));
        let job = Parent::new(bql, Arc::new(Job));
        let edge = job
            .attach(bql, "main node", &one, Perm::empty(), Perm::all())
            .expect("attached");
        one.drain(bql).replace_with(&two).expect("skipped");
        assert_eq!(edge.view(bql).expect("there").child().name(), "one");
        let mut section = one.drain(bql);
        let mut changes = section.transaction();
        changes.replace_with_all(&two);
        assert_eq!(
            refused(changes.commit()),
            "Should not change 'main node' link to 'one'"
        );
        drop(section);
        job.detach(bql, edge).expect("detached");
        assert!(edge.view(bql).is_err(), "an edge that is gone is not found");
    });
}

#[test]
fn handles_of_another_layer_are_refused() {
    let first = block_gs::BlockLayer::new().expect("a block layer");
    let second = block_gs::BlockLayer::new().expect("a block layer");
    let (disk, _) = first.enter(|bql| node(bql, "disk", Mem::of(512)));
    let message = Mutex::new(String::new());
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        second.enter(|bql| disk.drain(bql).end());
    }));
    if let Err(panic) = outcome {
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        *message.lock().expect("no panic") = text;
    }
    let message = message.into_inner().expect("no panic");
    assert!(
        message.contains("belongs to another block layer"),
        "{message}"
    );
}

#[test]
fn walks_over_long_chains_need_no_deep_stack() {
    in_layer(|bql| {
        let (mut top, _) = node(bql, "base", Mem::of(512));
        for i in 0..3000 {
            top = filter(bql, &format!("f{i}"), &top).0;
        }
        let base: Node = Node::find(bql, "base").expect("there");
        assert_eq!(base.drain(bql).node().name(), "base");
        assert!(top.contains(bql, &base));
        assert!(!base.contains(bql, &top));
        drop((top, base));
        while bql.poll(Wait::No) {}
        assert_eq!(nodes(bql).count(), 0);
    });
}
