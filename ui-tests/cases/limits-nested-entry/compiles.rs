//! Limit: A second entry on one thread compiles, and is refused at run time.
//! QEMU: bql_lock() by a thread that holds it aborts.
//! Why: Two guards on one thread would be two exclusive borrows of one graph.

use block_gs::{BlockLayer, nodes};

fn main() {
    let (layer, other) = (
        BlockLayer::new().expect("one"),
        BlockLayer::new().expect("two"),
    );
    layer.enter(|_| {
        let refused = layer
            .try_enter(|bql| nodes(bql).count())
            .expect_err("inside");
        assert!(
            refused
                .to_string()
                .contains("already inside this block layer")
        );
        let refused = other
            .try_enter(|bql| nodes(bql).count())
            .expect_err("inside");
        assert!(
            refused
                .to_string()
                .contains("already inside another block layer")
        );
    });
}
