//! Twin of bad.rs: its id is kept, and looked up again.

use block_gs::BqlGuard;
use std::time::Duration;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let edge = top.view(bql).child("backing").expect("a backing image");
        let id = edge.id(bql);
        bql.run_for(Duration::ZERO);
        let edge = id.view(bql)?;
        assert_eq!(edge.child().name(), "base");
        Ok(())
    });
}
