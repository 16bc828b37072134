//! Permissions and changes of the graph: the scenarios of
//! `test-bdrv-graph-mod.c`.

use std::sync::Arc;

use block_gs::{Backend, BqlGuard, GraphError, Node, NodeBuilder, Perm, PermPair, Role};
use scenarios::{Manner, SIZE, TestDriver, above, child_name, in_layer, node, overlay};

/// Writes, and lets others do anything but write.
const EXCLUSIVE: PermPair = PermPair {
    perm: Perm::WRITE,
    shared: Perm::all().difference(Perm::WRITE),
};

const FILTERED: Role = Role::FILTERED.union(Role::PRIMARY);

/// A node that hands on what it is asked for.
fn pass_through(bql: &mut BqlGuard, name: &str, edge: &str, child: &Node) -> Node {
    let role = match edge {
        "file" => FILTERED,
        _ => Role::DATA,
    };
    above(bql, name, Manner::filter(), edge, child, role).0
}

/// A node that writes to its only child, which nobody else may.
fn exclusive_writer(bql: &mut BqlGuard, name: &str, child: &Node) -> Node {
    let manner = Manner {
        child_perms: Some(EXCLUSIVE),
        ..Manner::of(SIZE)
    };
    above(bql, name, manner, "file", child, Role::DATA).0
}

/// `/bdrv-graph-mod/update-perm-tree`
#[test]
fn update_perm_tree() {
    in_layer(|bql| {
        let root = Backend::new(bql, "root", EXCLUSIVE.perm, EXCLUSIVE.shared);
        let root = root.expect("a backend");
        let (disk, _) = node(bql, "node", Manner::of(SIZE));
        // Not below any parent, the filter wants nothing of the node yet.
        let filter = pass_through(bql, "filter", "data", &disk);
        root.insert(bql, &disk).expect("inserted");
        let refused = disk.drain(bql).append(&filter);
        assert!(
            matches!(refused, Err(GraphError::PermissionConflict { .. })),
            "{refused:?}"
        );
        assert_eq!(root.node(bql).as_ref(), Some(&disk));
        assert_eq!(child_name(bql, &filter, "file"), None);
        assert_eq!(disk.view(bql).quiesce_count(), 0);
    });
}

/// `/bdrv-graph-mod/should-update-child`
#[test]
fn should_update_child() {
    in_layer(|bql| {
        let root = Backend::new(bql, "root", Perm::empty(), Perm::all()).expect("a backend");
        let (disk, _) = node(bql, "node", Manner::of(SIZE));
        root.insert(bql, &disk).expect("inserted");
        let (target, _) = overlay(bql, "target", &disk);
        let filter = pass_through(bql, "filter", "target", &target);
        disk.drain(bql).append(&filter).expect("appended");
        assert_eq!(
            child_name(bql, &target, "backing").as_deref(),
            Some("node"),
            "no loop"
        );
        assert_eq!(child_name(bql, &filter, "file").as_deref(), Some("node"));
        assert_eq!(root.node(bql), Some(filter));
    });
}

/// `/bdrv-graph-mod/parallel-exclusive-write`
#[test]
fn parallel_exclusive_write() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Manner::of(SIZE));
        let one = pass_through(bql, "fl1", "file", &base);
        let two = pass_through(bql, "fl2", "file", &base);
        let top = exclusive_writer(bql, "top", &one);
        one.drain(bql).replace_with(&two).expect("replaced");
        assert_eq!(child_name(bql, &top, "file").as_deref(), Some("fl2"));
        assert_eq!(one.view(bql).parents().count(), 0);
        assert_eq!(one.view(bql).cumulative_perm(), Perm::empty());
        assert_eq!(two.view(bql).cumulative_perm(), EXCLUSIVE.perm);
    });
}

/// `/bdrv-graph-mod/append-greedy-filter`
#[test]
fn append_greedy_filter() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Manner::of(SIZE));
        let top = exclusive_writer(bql, "top", &base);
        let greedy = Arc::new(TestDriver::new(Manner {
            child_perms: Some(EXCLUSIVE),
            ..Manner::filter()
        }));
        let filter = NodeBuilder::new("fl1").open(bql, greedy).expect("opened");
        base.drain(bql).append(&filter).expect("appended");
        assert_eq!(child_name(bql, &top, "file").as_deref(), Some("fl1"));
        assert_eq!(child_name(bql, &filter, "file").as_deref(), Some("base"));
        assert_eq!(base.view(bql).parents().count(), 1);
    });
}
