//! Twin of bad.rs: a view, which takes the proof, shows what is granted.

use block_gs::{BlockDriver, BqlGuard, Perm, PermPair};
use block_io::{Activity, Request};
use ui_tests::{Overlay, in_main_loop, null, overlay};

fn may_resize(request: Request<'_>, driver: &dyn BlockDriver, bql: &BqlGuard) -> bool {
    let (perm, shared) = (request.perm() | Perm::RESIZE, Perm::all());
    driver.check_perm(bql, PermPair { perm, shared }).is_ok()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let counted = Activity::try_begin(top.io()).expect("not quiesced");
        assert!(may_resize(counted.request(), &Overlay, bql));
        Ok(())
    });
}
