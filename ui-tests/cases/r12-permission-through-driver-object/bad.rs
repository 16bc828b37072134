//! Rule R12: A request does not ask a driver whether permissions could be granted.
//! QEMU: V069, V070, block_crypto_co_amend_luks() -> bdrv_child_refresh_perms() ->
//! block_crypto_child_perms().
//! Shape: trait-object.
//! Why: Permission callbacks take the proof, also when they are reached through `dyn
//! BlockDriver`.

use block_gs::{BlockDriver, BqlGuard, Perm, PermPair};
use block_io::{Activity, Request};
use ui_tests::{Overlay, in_main_loop, null, overlay};

fn may_resize(request: Request<'_>, driver: &dyn BlockDriver) -> bool {
    let (perm, shared) = (request.perm() | Perm::RESIZE, Perm::all());
    driver.check_perm(PermPair { perm, shared }).is_ok()
    //~^ E0061 "argument #1 of type `&BqlGuard` is missing"
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let counted = Activity::try_begin(top.io()).expect("not quiesced");
        assert!(may_resize(counted.request(), &Overlay));
        Ok(())
    });
}
