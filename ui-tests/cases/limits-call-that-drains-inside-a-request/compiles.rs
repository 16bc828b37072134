//! Limit: A request that awaits a call of the main loop, which drains above it, waits for
//! ever.
//! QEMU: V079, the same deadlock, there with a blocked thread.
//! Why: The closure says nothing about what it waits for. Nothing is corrupted, and cancelling
//! the request ends it.

use block_gs::BqlGuard;
use block_io::aio::sleep;
use std::time::Duration;
use ui_tests::{disk, in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let (disk, main) = (disk(bql, "disk", &node), bql.main_loop());
        let (root, watched) = (disk.root().clone(), disk.root().clone());
        let inside = iothread(bql, "io0").context().spawn(async move {
            let _in_flight = root.begin().await;
            main.call(move |bql| node.drain(bql).end()).await.is_ok()
        });
        let rescue = iothread(bql, "io1").context().spawn(async move {
            while (watched.in_flight(), watched.quiesce_count()) != (1, 1) {
                sleep(Duration::ZERO).await;
            }
            inside.cancel().await
        });
        assert_eq!(bql.block_on(rescue), None);
        assert_eq!(disk.root().in_flight(), 0);
        Ok(())
    });
}
