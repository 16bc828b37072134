//! Twin of bad.rs: the section is opened in the main loop, and the task awaits what was done
//! in it.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, iothread, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (base, main) = (null(bql, "base"), bql.main_loop());
        let (top, io0) = (overlay(bql, "top", &base), iothread(bql, "io0"));
        let dropped = io0.context().spawn(async move {
            let section = top.drained_by(&main, |section| section.set_backing(None));
            section.await.expect("the main loop")
        });
        bql.block_on(dropped)?;
        Ok(())
    });
}
