//! Twin of bad.rs: the section, which is the proof, calls it outside the closure.

use block_gs::{BlockDriver, BqlGuard};
use ui_tests::{Overlay, in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        section.io(async |request| request.flush().await)?;
        Overlay.drain_begin(&section);
        assert_eq!(top.view(&section).quiesce_count(), 1);
        Ok(())
    });
}
