//! Accept A6: Owned handles are kept across polls and threads, and looked up again on use.
//! QEMU: bdrv_ref() around everything that polls; a BdrvChild cannot be kept at all.
//! Why: `Node`, `Backend` and `EdgeId` borrow nothing; what is gone is an error.

use block_gs::{BqlGuard, GraphError};
use std::time::Duration;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let edge = top
            .view(bql)
            .child("backing")
            .expect("a backing image")
            .id(bql);
        let (top, edge) = std::thread::spawn(move || (top, edge))
            .join()
            .expect("no panic");
        bql.run_for(Duration::ZERO);
        assert_eq!(edge.view(bql)?.child().name(), "base");
        top.drain(bql).set_backing(None)?;
        assert!(matches!(edge.view(bql), Err(GraphError::StaleEdge)));
        Ok(())
    });
}
