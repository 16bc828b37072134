//! Twin of bad.rs: the walk is over handles.

use block_gs::{BqlGuard, IoThread, iothreads};
use ui_tests::{in_main_loop, iothread};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let made = [iothread(bql, "io0"), iothread(bql, "io1")];
        assert_eq!(iothreads(bql).count(), made.len());
        let all: Vec<IoThread> = iothreads(bql).collect();
        for thread in all {
            thread.remove(bql)?;
        }
        assert_eq!(iothreads(bql).count(), 0);
        Ok(())
    });
}
