//! Rule R14: What a section does with a request does not call global-state callbacks of the
//! driver.
//! QEMU: V099, V109, functions of the I/O header with a global-state assertion inside.
//! Shape: closure.
//! Why: The closure gets a request, and the callback takes a `&BqlGuard`.

use block_gs::{BlockDriver, BqlGuard};
use ui_tests::{Overlay, in_main_loop, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let mut section = top.drain(bql);
        section.io(async |request| Overlay.drain_begin(request));
        //~^ E0308 "expected `&BqlGuard`, found `Request<'_>`"
        assert_eq!(top.view(&section).quiesce_count(), 1);
        Ok(())
    });
}
