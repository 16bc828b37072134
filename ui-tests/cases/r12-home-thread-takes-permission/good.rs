//! Twin of bad.rs: the bottom half asks the main loop.

use block_gs::{BqlGuard, Perm};
use ui_tests::{disk, in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let (export, main) = (disk(bql, "export", &node), bql.main_loop());
        let (disk, perm) = (export.clone(), Perm::RESIZE);
        iothread(bql, "io0").context().schedule(move |home| {
            assert_eq!(home.context().name(), "io0");
            main.schedule(move |bql| disk.set_perm(bql, perm, Perm::all()).expect("granted"));
        });
        bql.poll_until(|bql| export.perms(bql).perm == perm);
        Ok(())
    });
}
