//! Rule R1: A backend in a static gives I/O code no access to its global state.
//! QEMU: None recorded. The list of all backends is a static, and any thread can walk it.
//! Shape: static.
//! Why: A handle may be anywhere; what it is the handle of is behind the guard.

use block_gs::{Backend, BqlGuard, Perm};
use std::sync::OnceLock;
use ui_tests::{disk, in_main_loop, iothread, null};

static DISK: OnceLock<Backend> = OnceLock::new();

async fn is_writable() -> bool {
    let disk = DISK.get().expect("set");
    disk.perms().perm.contains(Perm::WRITE)
    //~^ E0061 "argument #1 of type `&BqlGuard` is missing"
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
