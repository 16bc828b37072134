//! Rule R16: A helper that may call what it is given again is not given the end of a section.
//! QEMU: None recorded. bdrv_drained_end() is a function like any other.
//! Shape: generic.
//! Why: Ending takes the section, so the closure is `FnOnce` and nothing more.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null};

fn retry(mut attempt: impl FnMut() -> bool) -> bool {
    attempt() || attempt()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let section = node.drain(bql);
        let ended = retry(|| {
            section.end();
            //~^ E0507 "cannot move out of `section`, a captured variable in an `FnMut` closure"
            true
        });
        assert!(ended);
        Ok(())
    });
}
