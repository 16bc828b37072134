//! Twin of bad.rs: the names are collected first.

use block_gs::{BqlGuard, nodes};
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _base = null(bql, "base");
        let names: Vec<_> = nodes(bql).map(|view| view.name().to_owned()).collect();
        for name in names {
            let filter = null(bql, &format!("{name}-copy"));
            assert_eq!(filter.name(), "base-copy");
        }
        Ok(())
    });
}
