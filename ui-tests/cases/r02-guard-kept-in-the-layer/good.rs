//! Twin of bad.rs: a handle is kept.

use block_gs::{BqlGuard, MainLoop};
use ui_tests::in_main_loop;

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let kept = bql.extension_mut::<Vec<MainLoop>>();
        assert!(kept.is_empty());
        Ok(())
    });
}
