//! Snapshots inside images.

use block_gs::snapshot::{
    all_have_snapshot, check_snapshots, create_snapshots, delete_snapshots, find_vmstate_node,
    goto_snapshots, snapshot_nodes,
};
use block_gs::{GraphError, IoError, NodeBuilder, NodeView, Role, SnapshotInfo, SnapshotKey};

use crate::common::{Mem, above, backend, filter, in_layer, node};
use crate::format::{Format, image, open};

fn named(name: &str) -> SnapshotInfo {
    SnapshotInfo {
        name: name.into(),
        vm_state_size: 100,
        ..SnapshotInfo::default()
    }
}

fn text<T: std::fmt::Debug>(result: Result<T, GraphError>) -> String {
    result.expect_err("should be refused").to_string()
}

fn by_name(name: &str) -> SnapshotKey<'_> {
    SnapshotKey {
        id: None,
        name: Some(name),
    }
}

#[test]
fn a_node_without_snapshots_asks_its_only_holder() {
    in_layer(|bql| {
        let (disk, _) = image(bql, "disk", None);
        let (top, _) = filter(bql, "top", &disk);
        let mut info = named("before");
        top.drain(bql).create_snapshot(&mut info).expect("made");
        assert_eq!(info.id, "1");
        for node in [&disk, &top] {
            let view: NodeView<'_> = node.view(bql);
            assert_eq!(view.snapshots(bql).expect("known"), [info.clone()]);
        }
        let (plain, _) = node(bql, "plain", Mem::of(512));
        let none = NodeView::snapshots(plain.view(bql), bql);
        assert!(matches!(none, Err(GraphError::Io(IoError::NotSupported))));
        let found = top.view(bql).find_snapshot(bql, by_name("before"));
        assert_eq!(found.expect("known").expect("there").id, "1");
        let both = SnapshotKey {
            id: Some("2"),
            name: Some("before"),
        };
        let found = top.view(bql).find_snapshot(bql, both);
        assert_eq!(found.expect("known"), None);
        top.drain(bql).goto_snapshot("1").expect("gone");
        assert_eq!((disk.length(bql), top.length(bql)), (512, 512));
        assert_eq!(
            text(top.drain(bql).goto_snapshot("x")),
            "Failed to load snapshot: No such file or directory"
        );
        top.drain(bql)
            .delete_snapshot(by_name("before"))
            .expect("gone");
        assert_eq!(disk.view(bql).snapshots(bql).expect("known"), []);
    });
}

#[test]
fn where_two_children_hold_something_nobody_is_asked() {
    in_layer(|bql| {
        let (one, _) = image(bql, "one", None);
        let (two, _) = image(bql, "two", None);
        let (both, _) =
            above(bql, "both", Mem::of(512), "file", &one, Role::IMAGE).expect("an image");
        assert!(both.view(bql).can_snapshot());
        let attached = both.drain(bql).attach_child("data", &two, Role::DATA);
        attached.expect("attached");
        assert!(!both.view(bql).can_snapshot());
        let mut info = named("x");
        let refused = both.drain(bql).create_snapshot(&mut info);
        assert_eq!(text(refused), "Operation not supported");
        assert_eq!(
            text(both.drain(bql).goto_snapshot("1")),
            "Block driver does not support snapshots"
        );
        assert_eq!(
            text(both.drain(bql).delete_snapshot(by_name("x"))),
            "Block format 'mem' used by device '' does not support internal snapshot deletion"
        );
        assert_eq!(
            text(both.drain(bql).delete_snapshot(SnapshotKey::default())),
            "snapshot_id and name are both NULL"
        );
    });
}

#[test]
fn a_snapshot_is_shown_by_a_node_that_is_read_only() {
    in_layer(|bql| {
        let (writable, _) = image(bql, "writable", None);
        let refused = writable.drain(bql).load_snapshot(by_name("x"));
        assert_eq!(text(refused), "Device is not readonly");
        let format = Format::new(bql);
        format.kept.get(bql).borrow_mut().push(named("x"));
        let node = NodeBuilder::new("image").read_only(true);
        let image = node.open(bql, std::sync::Arc::new(format)).expect("opened");
        image.drain(bql).load_snapshot(by_name("x")).expect("shown");
        image
            .drain(bql)
            .load_snapshot_called("x")
            .expect("by its name");
        let missing = image.drain(bql).load_snapshot_called("y");
        assert_eq!(text(missing), "No such file or directory");
        let plain = NodeBuilder::new("plain").read_only(true);
        let plain = plain
            .open(bql, std::sync::Arc::new(Mem::of(512)))
            .expect("opened");
        assert_eq!(
            text(plain.drain(bql).load_snapshot(by_name("x"))),
            "Block format 'mem' used by device '' does not support temporarily loading internal \
             snapshots"
        );
    });
}

#[test]
fn snapshots_of_everything_are_about_what_is_in_use() {
    in_layer(|bql| {
        let (one, first) = image(bql, "one", None);
        let (two, second) = image(bql, "two", None);
        let _disk = backend(bql, "disk", &one);
        two.set_monitor_owned(bql);
        let nodes = snapshot_nodes(bql, None).expect("no names");
        assert_eq!(nodes, [one.clone(), two.clone()]);
        check_snapshots(bql, &nodes).expect("both can");
        let keeper = find_vmstate_node(bql, None, &nodes).expect("both can");
        assert_eq!(keeper, one);
        create_snapshots(bql, &nodes, Some(&keeper), &named("s")).expect("made");
        let sizes = [first, second].map(|format| {
            let kept = format.kept.get(bql).borrow();
            (kept[0].name.clone(), kept[0].vm_state_size)
        });
        assert_eq!(sizes, [("s".into(), 100), ("s".into(), 0)]);
        assert!(all_have_snapshot(bql, &nodes, "s").expect("known"));
        assert!(!all_have_snapshot(bql, &nodes, "t").expect("known"));
        goto_snapshots(bql, &nodes, "s").expect("gone");
        assert_eq!((one.length(bql), two.length(bql)), (512, 512));
        assert_eq!(
            text(goto_snapshots(bql, &nodes, "t")),
            "Could not load snapshot 't' on 'disk': No such file or directory"
        );
        delete_snapshots(bql, &nodes, "s").expect("gone");
        delete_snapshots(bql, &nodes, "s").expect("there is none");
        assert!(!all_have_snapshot(bql, &nodes, "s").expect("known"));
    });
}

#[test]
fn what_cannot_have_snapshots_is_named() {
    in_layer(|bql| {
        let (plain, _) = node(bql, "plain", Mem::of(512));
        let mut broken = Format::new(bql);
        broken.stuck = true;
        let (full, _) = open(bql, "full", broken, None);
        let nodes = [plain.clone(), full.clone()];
        assert_eq!(
            text(check_snapshots(bql, &nodes)),
            "Device 'plain' is writable but does not support snapshots"
        );
        let only = [full];
        assert_eq!(
            text(create_snapshots(bql, &only, None, &named("s"))),
            "Could not create snapshot 's' on 'full': No space left on device"
        );
        assert_eq!(
            text(snapshot_nodes(bql, Some(&["x"]))),
            "No block device node 'x'"
        );
        assert_eq!(
            text(snapshot_nodes(bql, Some(&[]))),
            "At least one device is required for snapshot"
        );
        let none = find_vmstate_node(bql, None, std::slice::from_ref(&plain));
        assert_eq!(text(none), "No block device supports snapshots");
        let find = |name| find_vmstate_node(bql, Some(name), &nodes);
        assert_eq!(
            text(find("plain")),
            "vmstate block device 'plain' does not support snapshots"
        );
        assert_eq!(text(find("x")), "vmstate block device 'x' does not exist");
        assert_eq!(find("full").expect("it can").name(), "full");
    });
}
