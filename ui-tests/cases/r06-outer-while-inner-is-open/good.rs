//! Twin of bad.rs: the inner section ends first.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (old, new) = (null(bql, "old"), null(bql, "new"));
        let (a, b) = (overlay(bql, "a", &old), overlay(bql, "b", &old));
        let mut outer = a.drain(bql);
        let mut inner = outer.also(&b);
        inner.set_backing(Some(&new))?;
        inner.end();
        outer.set_backing(Some(&new))?;
        assert_eq!(new.view(&outer).parents().count(), 2);
        Ok(())
    });
}
