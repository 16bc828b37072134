//! Twin of bad.rs: the static is asked for what I/O code may know.

use block_gs::{Backend, BqlGuard, Perm};
use std::sync::OnceLock;
use ui_tests::{disk, in_main_loop, iothread, null};

static DISK: OnceLock<Backend> = OnceLock::new();

async fn is_writable() -> bool {
    let disk = DISK.get().expect("set");
    let in_flight = disk.root().begin().await;
    in_flight
        .request()
        .is_ok_and(|request| request.perm().contains(Perm::WRITE))
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        DISK.set(disk(bql, "disk", &node)).expect("empty");
        let asked = iothread(bql, "io0").context().spawn(is_writable());
        assert!(bql.block_on(asked));
        Ok(())
    });
}
