//! Ways down a chain, and names.

use block_gs::{Backend, BqlGuard, EdgeView, Node, NodeBuilder, NodeView, Perm, Role};

use crate::common::{Mem, above, backend, filter, in_layer, node};

/// `top` -> `mid` -> `base`, with a filter above each of them.
fn chain(bql: &mut BqlGuard) -> [Node; 6] {
    let (base, _) = node(bql, "base", Mem::overlay(512));
    let (over_base, _) = filter(bql, "over-base", &base);
    let mut overlay = |name: &str, below: &Node| {
        let (overlay, _) =
            above(bql, name, Mem::overlay(512), "backing", below, Role::COW).expect("an overlay");
        let (above, _) = filter(bql, &format!("over-{name}"), &overlay);
        (overlay, above)
    };
    let (mid, over_mid) = overlay("mid", &over_base);
    let (top, over_top) = overlay("top", &over_mid);
    [over_top, top, over_mid, mid, over_base, base]
}

fn name(view: Option<NodeView<'_>>) -> Option<&str> {
    view.map(NodeView::name)
}

#[test]
fn images_are_found_between_filters() {
    in_layer(|bql| {
        let [over_top, top, over_mid, mid, over_base, base] = chain(bql);
        let bql = &*bql;
        let at = |node: &Node| node.view(bql);
        assert_eq!(at(&over_top).skip_filters().name(), "top");
        assert_eq!(name(at(&over_top).filter_node()), Some("top"));
        assert_eq!(name(at(&over_top).cow_node()), None);
        assert_eq!(name(at(&over_top).primary_node()), Some("top"));
        assert_eq!(name(at(&top).filter_node()), None);
        assert_eq!(name(at(&top).cow_node()), Some("over-mid"));
        assert_eq!(name(at(&top).filter_or_cow_node()), Some("over-mid"));
        assert_eq!(name(at(&top).primary_node()), None);
        for above in [&over_top, &top] {
            assert_eq!(name(at(above).backing_chain_next()), Some("mid"));
        }
        assert_eq!(name(at(&base).backing_chain_next()), None);

        let overlay = |below: &Node| name(at(&over_top).find_overlay(Some(at(below))));
        assert_eq!(overlay(&mid), Some("top"));
        assert_eq!(overlay(&over_mid), Some("top"));
        assert_eq!(overlay(&over_base), Some("mid"));
        assert_eq!(overlay(&top), None);
        assert_eq!(name(at(&over_top).find_overlay(None)), Some("base"));
        assert_eq!(at(&over_top).find_base().name(), "base");

        assert!(at(&over_top).chain_contains(&base));
        assert!(at(&mid).chain_contains(&mid));
        assert!(!at(&mid).chain_contains(&top));
        assert_eq!(at(&over_top).chain().count(), 6);
    });
}

#[test]
fn edges_down_a_chain_are_told_apart_by_what_they_are_for() {
    in_layer(|bql| {
        let [over_top, top, ..] = chain(bql);
        let (file, _) = node(bql, "file", Mem::of(512));
        let mut drained = top.drain(bql);
        let attached = drained.attach_child("file", &file, Role::IMAGE);
        attached.expect("attached");
        drop(drained);
        let told = |edge: Option<EdgeView<'_>>| {
            edge.map(|edge| {
                let child: NodeView<'_> = edge.child();
                (edge.name().to_owned(), edge.role(), child.name().to_owned())
            })
        };
        let seen = |name: &str, role, child: &str| Some((name.into(), role, child.into()));
        let filter = Role::FILTERED | Role::PRIMARY;
        let at = over_top.view(bql);
        assert_eq!(told(at.filter_child()), seen("file", filter, "top"));
        assert_eq!(told(at.cow_child()), None);
        assert_eq!(told(at.filter_or_cow_child()), told(at.filter_child()));
        assert_eq!(told(at.primary_child()), told(at.filter_child()));
        let at = top.view(bql);
        assert_eq!(told(at.filter_child()), None);
        assert_eq!(told(at.cow_child()), seen("backing", Role::COW, "over-mid"));
        assert_eq!(told(at.filter_or_cow_child()), told(at.cow_child()));
        assert_eq!(told(at.primary_child()), seen("file", Role::IMAGE, "file"));
        let at = file.view(bql);
        for none in [at.filter_child(), at.cow_child(), at.primary_child()] {
            assert_eq!(told(none), None);
        }
        // Seen from below it is the same edge.
        let up = file.view(bql).parents().next().expect("top");
        assert_eq!(told(Some(up)), seen("file", Role::IMAGE, "file"));
        assert_eq!(up.parent_node(), Some(top.view(bql)));
    });
}

#[test]
fn what_a_job_has_put_in_is_skipped_for_users() {
    in_layer(|bql| {
        let (base, _) = node(bql, "base", Mem::of(512));
        let (explicit, _) = filter(bql, "explicit", &base);
        let hidden = NodeBuilder::new("")
            .implicit(true)
            .child("file", &explicit, Role::FILTERED | Role::PRIMARY)
            .open(bql, std::sync::Arc::new(Mem::filter()))
            .expect("opened");
        assert!(hidden.view(bql).is_implicit());
        let shown = hidden.view(bql).skip_implicit_filters();
        assert_eq!(shown.name(), "explicit");
        assert_eq!(hidden.view(bql).skip_filters().name(), "base");
    });
}

#[test]
fn a_node_is_called_after_its_backend() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "node0", Mem::of(512));
        assert!(!disk.view(bql).has_backend());
        assert!(disk.view(bql).is_root_node());
        assert_eq!(disk.view(bql).device_name(), "");
        assert_eq!(disk.view(bql).device_or_node_name(), "node0");
        let named = backend(bql, "virtio0", &disk);
        let unnamed = Backend::new(bql, "", Perm::CONSISTENT_READ, Perm::all()).expect("made");
        unnamed.insert(bql, &disk).expect("inserted");
        assert!(disk.view(bql).has_backend());
        assert!(disk.view(bql).is_root_node());
        assert_eq!(disk.view(bql).device_or_node_name(), "virtio0");
        assert_eq!(disk.backends(bql).len(), 2);
        let (_above, _) = filter(bql, "above", &disk);
        assert!(!disk.view(bql).is_root_node());
        named.remove(bql);
        assert_eq!(disk.view(bql).device_or_node_name(), "node0");
    });
}
