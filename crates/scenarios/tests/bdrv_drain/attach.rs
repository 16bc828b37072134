//! What is attached to a drained node.

use scenarios::{Manner, SIZE, backend, child_name, in_layer, node, quiesced};

/// `/bdrv-drain/attach/drain`
#[test]
fn attach_drain() {
    in_layer(|bql| {
        let (base, base_driver) = node(bql, "base", Manner::of(SIZE));
        let front = backend(bql, "blk", &base);
        let (overlay, overlay_driver) = node(bql, "overlay", Manner::overlay(SIZE));
        let mut section = base.drain(bql);
        assert_eq!(base_driver.drain_count(), 1);
        // The change is made in a section of its own, which ends with it.
        section.also(&base).append(&overlay).expect("appended");
        assert_eq!(front.node(&section).as_ref(), Some(&overlay));
        assert_eq!(
            child_name(&section, &overlay, "backing").as_deref(),
            Some("base")
        );
        assert_eq!(quiesced(&section, &overlay), 1);
        assert_eq!(quiesced(&section, &base), 1);
        assert_eq!(overlay_driver.drain_count(), 1);
        assert_eq!(overlay_driver.drain_begins(), 1);
        assert_eq!(front.root().quiesce_count(), 1);
        assert_eq!(front.root().in_flight(), 0);
        assert_eq!(overlay.io().in_flight(), 0);
        section.end();
        for node in [&overlay, &base] {
            assert_eq!(quiesced(bql, node), 0, "{node:?}");
        }
        assert_eq!(overlay_driver.drain_count(), 0);
        assert_eq!(base_driver.drain_count(), 0);
        assert_eq!(front.root().quiesce_count(), 0);
    });
}
