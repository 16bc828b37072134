//! Where nodes are at home, and what runs there.

use block_gs::{IoThread, NodeView, Role};
use block_io::aio::AioContext;

use crate::common::{Mem, above, backend, filter, in_layer, node};

fn here() -> String {
    let context = AioContext::current().expect("an event loop");
    context.name().to_owned()
}

#[test]
fn what_a_node_begins_runs_where_the_node_is_at_home() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let thread = IoThread::create(bql, "io0").expect("a thread");
        let io_node = disk.io().clone();
        let task = io_node.spawn(async { (here(), std::thread::current().id()) });
        assert_eq!(
            bql.block_on(task),
            ("main".into(), std::thread::current().id())
        );
        disk.set_iothread(bql, Some(&thread)).expect("moved");
        assert_eq!(io_node.context().name(), "io0");
        let task = io_node.spawn(async { (here(), std::thread::current().id()) });
        let (name, id) = bql.block_on(task);
        assert_eq!(name, "io0");
        assert_ne!(id, std::thread::current().id());
        // Any thread may ask, also one without a loop of its own.
        let asked = std::thread::spawn(move || {
            let home = io_node.context().name().to_owned();
            (home, io_node.spawn(async { here() }))
        });
        let (home, task) = asked.join().expect("no panic");
        assert_eq!((home, bql.block_on(task)), ("io0".into(), "io0".into()));
    });
}

#[test]
fn parents_and_children_say_the_same_home() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::of(512));
        let (top, _) =
            above(bql, "top", Mem::overlay(512), "backing", &base, Role::COW).expect("opened");
        let (pass, _) = filter(bql, "pass", &top);
        let front = backend(bql, "front", &pass);
        let thread = IoThread::create(bql, "io0").expect("a thread");
        for home in [Some(&thread), None] {
            front.set_iothread(bql, home).expect("moved");
            let name = home.map_or("main", |_| "io0");
            for node in [&base, &top, &pass] {
                let view: NodeView<'_> = node.view(bql);
                assert_eq!(view.context().name(), name);
                let parents = view.parents().filter_map(|edge| edge.parent_node());
                assert!(
                    parents
                        .map(NodeView::context)
                        .all(|context| context == view.context())
                );
            }
        }
    });
}
