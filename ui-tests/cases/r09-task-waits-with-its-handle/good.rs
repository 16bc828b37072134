//! Twin of bad.rs: the handle is awaited.

use block_gs::BqlGuard;
use block_io::aio::JoinHandle;
use ui_tests::{SIZE, disk, in_main_loop, iothread, null};

async fn length_after(before: JoinHandle<u64>) -> u64 {
    before.await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let (disk, io0) = (disk(bql, "disk", &node), iothread(bql, "io0"));
        let root = disk.root().clone();
        let before = io0
            .context()
            .spawn(async move { root.length().await.expect("a length") });
        let length = io0.context().spawn(length_after(before));
        assert_eq!(bql.block_on(length), SIZE);
        Ok(())
    });
}
