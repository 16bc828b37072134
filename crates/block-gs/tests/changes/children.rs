//! Edges of one node: attached, replaced, detached.

use std::sync::atomic::Ordering;

use block_gs::{Backend, BqlGuard, Drained, GraphError, IoThread, Node, Perm, PermPair, Role};
use block_io::{IoError, Request};

use crate::common::{Mem, above, backend, child_name, filter, in_layer, node, picture};

fn refused(result: Result<(), GraphError>) -> String {
    result.expect_err("should be refused").to_string()
}

/// Where nodes are at home.
fn homes<const N: usize>(nodes: [&Node; N]) -> [String; N] {
    nodes.map(|node| node.io().context().name().to_owned())
}

#[test]
fn a_child_comes_with_permissions_and_home_and_goes_without() {
    in_layer(|bql| {
        let (top, _) = node(bql, "top", Mem::of(512));
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let front = backend(bql, "front", &top);
        let thread = IoThread::create(bql, "io0").expect("a thread");
        front.set_iothread(bql, Some(&thread)).expect("moved");
        let before = picture(bql);

        let mut drained = top.drain(bql);
        drained
            .attach_child("data", &disk, Role::DATA)
            .expect("nobody minds");
        let reached = drained.io(async |request: Request<'_>| {
            let child = request.child("data").expect("attached");
            child.node().name() == "disk"
        });
        assert!(reached);
        drop(drained);
        assert_eq!(child_name(bql, &top, "data").as_deref(), Some("disk"));
        let writes = Perm::CONSISTENT_READ | Perm::WRITE | Perm::RESIZE;
        assert_eq!(disk.view(bql).cumulative_perm(), writes);
        assert_eq!(homes([&top, &disk]), ["io0", "io0"]);

        let mut drained = top.drain(bql);
        drained.detach_child("data").expect("it is there");
        let gone = drained.io(async |request: Request<'_>| request.child("data").map(drop));
        assert!(matches!(gone, Err(IoError::NoChild("data"))));
        assert_eq!(
            refused(drained.detach_child("data")),
            "Node 'top' does not have child 'data'"
        );
        drop(drained);
        assert_eq!(picture(bql), before);
        // Nobody needs it there any more.
        assert_eq!(homes([&top, &disk]), ["io0", "main"]);
    });
}

#[test]
fn a_child_that_is_refused_leaves_everything_as_it_was() {
    in_layer(|bql| {
        let (disk, disk_driver) = node(bql, "disk", Mem::of(512));
        let alone = Backend::new(bql, "alone", Perm::empty(), Perm::all() - Perm::WRITE);
        let alone = alone.expect("a backend");
        alone.insert(bql, &disk).expect("inserted");
        let (top, _) = node(bql, "top", Mem::of(512));
        let (over, _) = filter(bql, "over", &top);
        let front = backend(bql, "front", &over);
        let before = picture(bql);
        let told = || disk_driver.perm_sets.load(Ordering::Relaxed);
        let before_it = told();

        let mut drained = top.drain(bql);
        let text = refused(drained.attach_child("data", &disk, Role::DATA));
        assert_eq!(
            text,
            "Permission conflict on node 'disk': permissions 'write' are both required by node \
             'top' (uses node 'disk' as 'data' child) and unshared by block device 'alone' (uses \
             node 'disk' as 'root' child)."
        );
        // It can be seen inside the section already.
        let gone = drained.io(async |request: Request<'_>| request.child("data").map(drop));
        assert!(matches!(gone, Err(IoError::NoChild("data"))));
        drop(drained);
        assert_eq!(picture(bql), before);
        assert_eq!(told(), before_it, "the driver never heard of it");
        for attempt in [
            (Role::empty(), "data", &disk),
            (Role::PRIMARY, "data", &disk),
            (Role::DATA, "self", &over),
        ] {
            let (role, name, child) = attempt;
            let refused = top.drain(bql).attach_child(name, child, role);
            assert!(
                matches!(
                    refused,
                    Err(GraphError::InvalidRole { .. } | GraphError::Cycle { .. })
                ),
                "{refused:?}"
            );
            assert_eq!(picture(bql), before);
        }
        // The way is free, and nothing is left over from before.
        alone.remove(bql);
        let mut drained = top.drain(bql);
        let attached = drained.attach_child("data", &disk, Role::DATA);
        attached.expect("nobody minds any more");
        assert_eq!(
            refused(drained.attach_child("data", &disk, Role::DATA)),
            GraphError::ChildExists {
                parent: "top".into(),
                edge: "data".into(),
            }
            .to_string()
        );
        drop(drained);
        front.remove(bql);
    });
}

#[test]
fn a_move_for_a_child_that_is_refused_is_taken_back() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let exclusive = PermPair {
            perm: Perm::WRITE,
            shared: Perm::empty(),
        };
        let jealous = Mem {
            child_perms: Some(exclusive),
            ..Mem::default()
        };
        let (first, _) = above(bql, "first", jealous, "file", &disk, Role::DATA).expect("opened");
        let (top, _) = node(bql, "top", Mem::of(512));
        let front = backend(bql, "front", &top);
        let thread = IoThread::create(bql, "io0").expect("a thread");
        front.set_iothread(bql, Some(&thread)).expect("moved");
        let before = picture(bql);
        let mut drained = top.drain(bql);
        let text = refused(drained.attach_child("data", &disk, Role::DATA));
        assert!(
            text.starts_with("Permission conflict on node 'disk'"),
            "{text}"
        );
        drop(drained);
        assert_eq!(homes([&top, &first, &disk]), ["io0", "main", "main"]);
        assert_eq!(picture(bql), before);
    });
}

#[test]
fn an_edge_is_pointed_elsewhere_with_what_it_asks() {
    in_layer(|bql| {
        let (one, _) = node(bql, "one", Mem::of(512));
        let (two, _) = node(bql, "two", Mem::of(512));
        let (top, _) = filter(bql, "top", &one);
        let _front = backend(bql, "front", &top);
        let writes = Perm::CONSISTENT_READ | Perm::WRITE;
        let perms = |bql: &BqlGuard| [&one, &two].map(|node| node.view(bql).cumulative_perm());
        assert_eq!(perms(bql), [writes, Perm::empty()]);
        let mut drained = top.drain(bql);
        drained.replace_child("file", &two).expect("replaced");
        let below = drained.io(async |request: Request<'_>| {
            let file = request.file().expect("a file");
            file.node().name().to_owned()
        });
        assert_eq!(below, "two");
        assert_eq!(
            refused(drained.replace_child("x", &one)),
            "Node 'top' does not have child 'x'"
        );
        drop(drained);
        assert_eq!(perms(bql), [Perm::empty(), writes]);
        assert_eq!(one.view(bql).parents().count(), 0);

        // One that lets nobody write stands in the way, and all stays.
        let reader = Backend::new(bql, "reader", Perm::CONSISTENT_READ, Perm::CONSISTENT_READ);
        let reader = reader.expect("a backend");
        reader.insert(bql, &one).expect("inserted");
        let before = picture(bql);
        let mut drained = top.drain(bql);
        let text = refused(drained.replace_child("file", &one));
        assert!(text.contains("permissions 'write'"), "{text}");
        assert_eq!(
            refused(drained.replace_child("file", &top)),
            "Making 'top' a file child of 'top' would create a cycle"
        );
        drop(drained);
        assert_eq!(picture(bql), before);
    });
}

/// What a driver asks of its section, which it gets from whoever asked.
#[test]
fn a_section_is_of_the_node_it_was_opened_for() {
    in_layer(|bql| {
        let (top, _) = node(bql, "top", Mem::of(512));
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let attach = |mut drained: Drained<'_>| drained.attach_child("data", &disk, Role::DATA);
        attach(top.drain(bql)).expect("attached");
        let mut outer = disk.drain(bql);
        let mut drained = outer.also(&top);
        drained.detach_child("data").expect("detached");
        drop(drained);
        assert_eq!(disk.view(&outer).quiesce_count(), 1);
        assert_eq!(top.view(&outer).quiesce_count(), 0);
        drop(outer);
        assert_eq!(disk.view(bql).quiesce_count(), 0);
    });
}
