//! Twin of bad.rs: the thread asks the main loop.

use block_gs::{Backend, BqlGuard, Perm};
use std::thread;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, main) = (null(bql, "node"), bql.main_loop());
        let cdrom = Backend::new(bql, "cdrom", Perm::CONSISTENT_READ, Perm::all())?;
        let (disk, medium) = (cdrom.clone(), node.clone());
        let third = thread::spawn(move || {
            main.schedule(move |bql| disk.insert(bql, &medium).expect("a medium"));
        });
        third.join().expect("no panic");
        bql.poll_until(|bql| cdrom.node(bql).as_ref() == Some(&node));
        Ok(())
    });
}
