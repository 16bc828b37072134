//! Limit: The types do not say to which block layer a handle belongs; its use checks.
//! QEMU: there is one block layer per process.
//! Why: A brand on every type would cost more than it proves.

use block_gs::BlockLayer;
use std::panic::{AssertUnwindSafe, catch_unwind};
use ui_tests::null;

fn main() {
    let (layer, other) = (
        BlockLayer::new().expect("one"),
        BlockLayer::new().expect("two"),
    );
    let node = layer.enter(|bql| null(bql, "node"));
    let used = catch_unwind(AssertUnwindSafe(|| {
        other.enter(|bql| node.drain(bql).end())
    }));
    let panic = used.expect_err("refused");
    let message = panic.downcast_ref::<String>().expect("a message");
    assert!(
        message.contains("belongs to another block layer"),
        "{message}"
    );
}
