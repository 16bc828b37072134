//! Twin of bad.rs: the task asks for a section, which the main loop opens.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, iothread, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (base, main) = (null(bql, "base"), bql.main_loop());
        let (top, io0) = (overlay(bql, "top", &base), iothread(bql, "io0"));
        let write = async move {
            top.drained_by(&main, |section| section.set_backing(None))
                .await
        };
        let written = io0.context().spawn(write);
        bql.block_on(written)??;
        Ok(())
    });
}
