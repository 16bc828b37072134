//! Nodes that come and go inside a section.

use block_gs::{drain_all, nodes};
use block_io::aio::Wait;
use scenarios::{Manner, SIZE, backend, in_layer, node, quiesced};

/// `/bdrv-drain/graph-change/drain_all`
#[test]
fn graph_change_drain_all() {
    in_layer(|bql| {
        let (old, old_driver) = node(bql, "test-node-a", Manner::of(SIZE));
        let old_front = backend(bql, "blk-a", &old);
        let mut section = drain_all(bql);
        assert_eq!(quiesced(&section, &old), 1);
        assert_eq!(old_driver.drain_count(), 1);

        let (new, new_driver) = section.with(|bql| node(bql, "test-node-b", Manner::of(SIZE)));
        let new_front = section.with(|bql| backend(bql, "blk-b", &new));
        assert_eq!(quiesced(&section, &new), 1);
        assert_eq!(new_driver.drain_count(), 1);
        assert_eq!(new_front.root().quiesce_count(), 1);

        section.with(|bql| {
            drop((old_front, old));
            while bql.poll(Wait::No) {}
        });
        assert_eq!(old_driver.closes(), 1);
        assert_eq!(nodes(&section).count(), 1);
        section.end();
        assert_eq!(quiesced(bql, &new), 0);
        assert_eq!(new_driver.drain_count(), 0);
        assert_eq!(new_driver.drain_begins(), 1);
        assert_eq!(new_front.root().quiesce_count(), 0);
    });
}
