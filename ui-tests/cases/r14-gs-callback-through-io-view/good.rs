//! Twin of bad.rs: the driver is looked up in the graph, with the proof.

use block_gs::BqlGuard;
use block_io::{Activity, Request};
use ui_tests::{in_main_loop, null, overlay};

fn bdrv_co_change_backing_file(request: Request<'_>) -> bool {
    request.backing().is_ok()
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let base = null(bql, "base");
        let top = overlay(bql, "top", &base);
        let counted = Activity::try_begin(top.io()).expect("not quiesced");
        assert!(bdrv_co_change_backing_file(counted.request()));
        assert!(top.view(bql).driver().supports_backing());
        Ok(())
    });
}
