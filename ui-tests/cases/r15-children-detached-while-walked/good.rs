//! Twin of bad.rs: the names are collected first.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        let children = top.view(&section).children();
        let names: Vec<_> = children.map(|edge| edge.name().to_owned()).collect();
        for name in names {
            section.detach_child(&name)?;
        }
        assert_eq!(top.view(&section).children().count(), 0);
        Ok(())
    });
}
