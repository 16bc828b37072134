//! Twin of bad.rs: the section replaces it.

use block_gs::BqlGuard;
use block_io::GraphCell;
use std::sync::OnceLock;
use ui_tests::{in_main_loop, null};

static OFFSET: OnceLock<GraphCell<u64>> = OnceLock::new();

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let offset = OFFSET.get_or_init(|| GraphCell::new(node.io().uid(), 0));
        let old = node.drain(bql).set(offset, 512);
        assert_eq!(old, 0);
        Ok(())
    });
}
