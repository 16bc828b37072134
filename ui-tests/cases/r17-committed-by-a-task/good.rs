//! Twin of bad.rs: the task has the main loop do it, in a section.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, iothread, null, overlay};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (base, main) = (null(bql, "base"), bql.main_loop());
        let (top, io0) = (overlay(bql, "top", &base), iothread(bql, "io0"));
        let commit = async move {
            let section = top.drained_by(&main, |section| section.transaction().commit());
            section.await.expect("the main loop")
        };
        let committed = io0.context().spawn(commit);
        bql.block_on(committed)?;
        Ok(())
    });
}
