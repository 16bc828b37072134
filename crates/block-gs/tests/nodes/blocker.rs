//! Operations that somebody has blocked.

use block_gs::{BqlGuard, Node, NodeView, Operations, Role};

use crate::common::{Mem, above, backend, in_layer, node};

fn busy(bql: &BqlGuard, node: &Node, operation: Operations) -> Option<String> {
    let checked = node.view(bql).check_operations(operation);
    checked.err().map(|error| error.to_string())
}

#[test]
fn a_block_lasts_as_long_as_its_value() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "b3", Mem::of(512));
        let reason = "block device is in use by block job: stream";
        let mut block = disk.block_operations(bql, Operations::all(), reason);
        let text = format!("Node 'b3' is busy: {reason}");
        assert_eq!(busy(bql, &disk, Operations::RESIZE), Some(text.clone()));
        block.allow(bql, Operations::RESIZE);
        assert_eq!(busy(bql, &disk, Operations::RESIZE), None);
        assert_eq!(busy(bql, &disk, Operations::EJECT), Some(text));
        assert!(disk.view(bql).has_blocked_operations());
        let view: NodeView<'_> = disk.view(bql);
        let several = view.check_operations(Operations::RESIZE | Operations::EJECT);
        assert!(several.is_err(), "one of them is enough");
        view.check_operations(Operations::RESIZE).expect("allowed");
        view.check_operations(Operations::empty()).expect("nothing");
        block.unblock(bql);
        assert_eq!(busy(bql, &disk, Operations::all()), None);
        assert!(!disk.view(bql).has_blocked_operations());
    });
}

#[test]
fn a_block_that_is_dropped_ends_in_the_main_loop() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(512));
        let kept = disk.block_operations(bql, Operations::RESIZE, "kept");
        let dropped = disk.block_operations(bql, Operations::RESIZE, "dropped");
        let said = busy(bql, &disk, Operations::RESIZE);
        assert_eq!(said.as_deref(), Some("Node 'disk' is busy: dropped"));
        std::thread::spawn(|| drop(dropped))
            .join()
            .expect("dropped");
        bql.run_for(std::time::Duration::from_millis(1));
        let said = busy(bql, &disk, Operations::RESIZE);
        assert_eq!(said.as_deref(), Some("Node 'disk' is busy: kept"));
        kept.unblock(bql);
        assert_eq!(busy(bql, &disk, Operations::RESIZE), None);
    });
}

#[test]
fn a_block_outlives_its_layer() {
    let block = in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(512));
        disk.block_operations(bql, Operations::RESIZE, "kept")
    });
    drop(block);
}

#[test]
fn a_blocked_node_is_not_deleted() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "disk", Mem::of(512));
        disk.set_monitor_owned(bql);
        let block = disk.block_operations(bql, Operations::DRIVE_DEL, "somebody needs it");
        let refused = disk.clone().delete(bql).expect_err("blocked").to_string();
        assert_eq!(refused, "Node 'disk' is busy: somebody needs it");
        block.unblock(bql);
        disk.delete(bql).expect("nobody uses it");
    });
}

#[test]
fn a_backing_image_takes_part_in_few_operations() {
    in_layer(|bql| {
        let (base, _) = node(bql, "mid", Mem::of(512));
        let (top, _) =
            above(bql, "node", Mem::overlay(512), "backing", &base, Role::COW).expect("an overlay");
        let _device = backend(bql, "top", &top);
        let text = "Node 'mid' is busy: node is used as backing hd of 'top'";
        for operation in Operations::all().iter() {
            let allowed = Operations::COMMIT_TARGET
                | Operations::STREAM
                | Operations::BACKUP_SOURCE
                | Operations::BACKUP_TARGET;
            let expected = (!allowed.contains(operation)).then_some(text);
            assert_eq!(busy(bql, &base, operation).as_deref(), expected);
        }
        assert_eq!(Operations::all().iter().count(), 15);
        top.drain(bql).set_backing(None).expect("removed");
        assert_eq!(busy(bql, &base, Operations::all()), None);
    });
}
