//! Twin of bad.rs: the function is async, and awaits.

use block_gs::{Backend, BqlGuard};
use ui_tests::{SIZE, disk, in_main_loop, iothread, null};

struct Nbd {
    disk: Backend,
}

impl Nbd {
    async fn length(self) -> u64 {
        let length = self.disk.root().length().await;
        length.expect("a length")
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let nbd = Nbd { disk };
        let length = iothread(bql, "io0").context().spawn(nbd.length());
        assert_eq!(bql.block_on(length), SIZE);
        Ok(())
    });
}
