//! Walks over nodes, and lookups.

use block_gs::{Backend, BqlGuard, Node, NodeView, Perm, Walk};
use block_gs::{monitor_owned_nodes, named_nodes, top_nodes};

use crate::common::{Mem, backend, filter, in_layer, node};

fn names<'b>(views: impl Iterator<Item = NodeView<'b>>) -> Vec<&'b str> {
    views.map(NodeView::name).collect()
}

fn walked(bql: &BqlGuard, mut walk: Walk) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(node) = walk.next(bql) {
        names.push(node.name().to_owned());
    }
    names
}

#[test]
fn nodes_below_backends_come_first_and_each_once() {
    in_layer(|bql| {
        let (owned, _) = node(bql, "owned", Mem::of(512));
        let (both, _) = node(bql, "both", Mem::of(512));
        let (below, _) = node(bql, "below", Mem::of(512));
        let (_inner, _) = filter(bql, "above", &below);
        for node in [&owned, &both] {
            node.set_monitor_owned(bql);
        }
        let _one = backend(bql, "one", &both);
        let _two = backend(bql, "two", &both);
        assert_eq!(names(top_nodes(bql)), ["both", "owned"]);
        assert_eq!(walked(bql, Walk::over_top_nodes()), ["both", "owned"]);
        assert_eq!(names(monitor_owned_nodes(bql)), ["owned", "both"]);
        assert_eq!(names(named_nodes(bql)), ["above", "below", "both", "owned"]);
        let all = walked(bql, Walk::over_all());
        assert_eq!(all, ["owned", "both", "below", "above"]);
    });
}

#[test]
fn a_walk_goes_on_while_nodes_come_and_go() {
    in_layer(|bql| {
        for name in ["a", "b", "c"] {
            let (node, _) = node(bql, name, Mem::of(512));
            node.set_monitor_owned(bql);
        }
        let mut walk = Walk::over_all();
        let first = walk.next(bql).expect("a node");
        assert_eq!(first.name(), "a");
        first.delete(bql).expect("nobody uses it");
        let gone = Node::find(bql, "b").expect("still there");
        gone.delete(bql).expect("nobody uses it");
        bql.run_for(std::time::Duration::from_millis(1));
        let (_made, _) = node(bql, "d", Mem::of(512));
        assert_eq!(walk.next(bql).expect("a node").name(), "c");
        assert_eq!(walk.next(bql).expect("a node").name(), "d");
        assert!(walk.next(bql).is_none());
    });
}

#[test]
fn lookups_say_what_is_missing() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "node0", Mem::of(512));
        let _sda = backend(bql, "sda", &disk);
        let _empty = Backend::new(bql, "cd", Perm::empty(), Perm::all()).expect("made");
        let look = |device, node| Node::lookup_by(bql, device, node);
        assert_eq!(look(Some("sda"), None).expect("found"), disk);
        assert_eq!(look(None, Some("node0")).expect("found"), disk);
        assert_eq!(look(Some("x"), Some("node0")).expect("found"), disk);
        let text = |device, node| look(device, node).expect_err("missing").to_string();
        assert_eq!(text(Some("cd"), None), "Device 'cd' has no medium");
        assert_eq!(
            text(None, Some("x")),
            "Cannot find device='' nor node-name='x'"
        );
        let both = Node::lookup(bql, "x").expect_err("missing").to_string();
        assert_eq!(both, "Cannot find device='x' nor node-name='x'");
    });
}
