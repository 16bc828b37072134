//! Twin of bad.rs: the closure returns it.

#![deny(unused_must_use)]

use block_gs::{Backend, BqlGuard, Perm};
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disks: [Backend; 2] = [disk(bql, "one", &node), disk(bql, "two", &node)];
        disks
            .iter()
            .try_for_each(|disk| disk.set_perm(bql, Perm::empty(), Perm::all()))?;
        Ok(())
    });
}
