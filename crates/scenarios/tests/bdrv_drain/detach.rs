//! Edges that go while a section over one of their ends is being opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use block_gs::{BqlGuard, Node, NodeBuilder, Role, drain_all};
use block_io::Buffer;
use block_io::aio::Wait;
use scenarios::{Manner, SIZE, TestDriver, Watch, above, backend, in_layer, node, quiesced};

const CHILDREN: [&str; 4] = ["wait-child", "null-1", "null-2", "null-3"];

#[derive(Clone, Copy, PartialEq)]
enum Section {
    All,
    Child,
}

fn child_count(bql: &BqlGuard, node: &Node) -> usize {
    node.view(bql).children().count()
}

/// Detaches all children of `parent`, in the main loop.
fn detach_all(bql: &mut BqlGuard, parent: &Node) {
    let mut section = parent.drain(bql);
    let mut changes = section.transaction();
    for name in CHILDREN {
        changes.detach_child(name);
    }
    changes.commit().expect("detached");
}

/// A request to a parent of four children is in flight when a section over
/// one of them begins. Before it ends it has the main loop detach them all:
/// that happens in the middle of the opening.
fn replay(how: Section) {
    in_layer(|bql| {
        let mut builder = NodeBuilder::new("parent");
        let mut children = Vec::new();
        for name in CHILDREN {
            let (child, driver) = node(bql, name, Manner::of(SIZE));
            builder = builder.child(name, &child, Role::DATA);
            children.push((child, driver));
        }
        let parent_driver = Arc::new(TestDriver::new(Manner {
            reads_from: Some("wait-child"),
            ..Manner::of(SIZE)
        }));
        let parent = builder.open(bql, parent_driver.clone()).expect("opened");
        let front = backend(bql, "blk", &parent);

        let (root, main) = (front.root().clone(), bql.main_loop());
        let (driver, subject) = (parent_driver.clone(), parent.clone());
        let request = bql.context().spawn(async move {
            let in_flight = root.begin().await;
            let mut buffer = Buffer::zeroed(512);
            let request = in_flight.request().expect("a node");
            request.read(0, buffer.destination()).await.expect("read");
            driver.until_drained().await;
            let started = Arc::new(Watch::new(false));
            let start = Arc::clone(&started);
            main.schedule(move |bql| {
                start.update(|started| *started = true);
                detach_all(bql, &subject);
            });
            started.until(|started| *started).await;
            drop(in_flight);
        });
        while parent_driver.reads() == 0 {
            bql.poll(Wait::No);
        }
        assert_eq!(front.root().in_flight(), 1);

        let (child, child_driver) = &children[1];
        match how {
            Section::All => {
                let section = drain_all(bql);
                assert_eq!(child_count(&section, &parent), 0);
                for (child, driver) in &children {
                    assert_eq!(quiesced(&section, child), 1);
                    assert_eq!(driver.drain_count(), 1);
                }
                assert_eq!(quiesced(&section, &parent), 1);
                section.end();
            }
            Section::Child => {
                let section = child.drain(bql);
                assert_eq!(child_count(&section, &parent), 0);
                assert_eq!(quiesced(&section, child), 1);
                assert_eq!(child_driver.drain_count(), 1);
                // Nothing connects them any more.
                assert_eq!(quiesced(&section, &parent), 0);
                assert_eq!(parent_driver.drain_count(), 0);
                section.end();
            }
        }
        bql.block_on(request);
        assert_eq!(child_driver.drain_count(), 0);
        assert_eq!(parent_driver.drain_count(), 0);
        assert_eq!(front.root().quiesce_count(), 0);
        drop((front, parent));
        while bql.poll(Wait::No) {}
        assert_eq!(parent_driver.closes(), 1);
        assert!(Node::find(bql, "parent").is_none());
        for (child, driver) in &children {
            assert_eq!((quiesced(bql, child), driver.closes()), (0, 0));
        }
    });
}

/// `/bdrv-drain/detach/drain_all`
#[test]
fn detach_drain_all() {
    replay(Section::All);
}

/// `/bdrv-drain/detach/drain`
#[test]
fn detach_drain() {
    replay(Section::Child);
}

/// `/bdrv-drain/detach/driver_cb`
#[test]
fn detach_driver_cb() {
    in_layer(|bql| {
        // PA and PB are above A, PB is above B too; C is by itself.
        let [(a, a_driver), (b, b_driver), (c, c_driver)] =
            ["a", "b", "c"].map(|name| node(bql, name, Manner::of(SIZE)));
        let busy = Manner {
            is_busy_until_drained: true,
            ..Manner::of(SIZE)
        };
        let (pa, pa_driver) = above(bql, "parent-a", busy, "child-a", &a, Role::DATA);
        let pb_driver = Arc::new(TestDriver::new(Manner::of(SIZE)));
        let pb = NodeBuilder::new("parent-b")
            .child("child-a", &a, Role::DATA)
            .child("child-b", &b, Role::DATA)
            .open(bql, pb_driver.clone())
            .expect("opened");
        bql.poll_until(|_| pa.io().in_flight() == 1);

        let changed = Arc::new(AtomicBool::new(false));
        let (main, subject, new) = (bql.main_loop(), pb.clone(), c.clone());
        let change = {
            let changed = Arc::clone(&changed);
            move |bql: &mut BqlGuard| {
                let mut section = subject.drain(bql);
                let mut changes = section.transaction();
                changes.detach_child("child-b");
                changes.attach_child("child-c", &new, Role::DATA);
                changes.commit().expect("changed");
                changed.store(true, Ordering::Relaxed);
            }
        };
        pa_driver.on_drain(move |_| main.schedule(change));
        for driver in [&a_driver, &pb_driver] {
            let changed = Arc::clone(&changed);
            driver.on_drain(move |_| {
                let changed = changed.load(Ordering::Relaxed);
                assert!(!changed, "it polls before all have been told");
            });
        }

        let section = a.drain(bql);
        assert!(changed.load(Ordering::Relaxed), "it waits for PA");
        assert_eq!(pa.io().in_flight(), 0);
        let counts = [&pa, &pb, &a, &b, &c].map(|node| quiesced(&section, node));
        assert_eq!(counts, [1, 1, 1, 0, 0]);
        let drivers = [&pa_driver, &pb_driver, &a_driver, &b_driver, &c_driver];
        let told = drivers.map(|driver| driver.drain_count());
        assert_eq!(told, [1, 1, 1, 0, 0]);
        let names: Vec<_> = pb
            .view(&section)
            .children()
            .map(|edge| edge.name())
            .collect();
        assert_eq!(names, ["child-a", "child-c"]);
        section.end();
        assert_eq!(drivers.map(|driver| driver.drain_count()), [0; 5]);
        let counts = [&pa, &pb, &a, &b, &c].map(|node| quiesced(bql, node));
        assert_eq!(counts, [0; 5]);
    });
}
