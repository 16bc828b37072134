//! Twin of bad.rs: the outcome is awaited.

#![deny(unused_must_use)]

use block_gs::BqlGuard;
use ui_tests::{disk, in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let (disk, io0) = (disk(bql, "disk", &node), iothread(bql, "io0"));
        let root = disk.root().clone();
        let flushed = io0.context().spawn(async move { root.flush().await });
        bql.block_on(flushed)?;
        Ok(())
    });
}
