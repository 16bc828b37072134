//! Twin of bad.rs: the home thread asks the main loop for a section.

use block_gs::{BqlGuard, Drained};
use ui_tests::{in_main_loop, iothread, null, overlay};

fn unplug(parent: &mut Drained<'_>) {
    parent.set_backing(None).expect("an edge");
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (base, main) = (null(bql, "base"), bql.main_loop());
        let top = overlay(bql, "top", &base);
        let unplugged = top.clone();
        iothread(bql, "io0").context().schedule(move |home| {
            assert_eq!(home.context().name(), "io0");
            main.schedule(move |bql| unplug(&mut unplugged.drain(bql)));
        });
        bql.poll_until(|bql| top.view(bql).children().count() == 0);
        Ok(())
    });
}
