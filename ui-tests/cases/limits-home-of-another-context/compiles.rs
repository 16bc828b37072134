//! Limit: `HomeThread` proves a home thread; that it is this backend's is checked at run time.
//! QEMU: in_aio_context_home_thread(blk_get_aio_context(blk)).
//! Why: A backend can move to another context, so no type can name its home.

use block_gs::{BqlGuard, WaitError};
use std::sync::mpsc;
use ui_tests::{disk, in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let (disk, main) = (disk(bql, "disk", &node), bql.main_loop());
        let (report, refused) = mpsc::channel();
        iothread(bql, "io0").context().schedule(move |home| {
            let waited = disk.length_blocking(home);
            let refused = matches!(waited, Err(WaitError::WrongThread { .. }));
            report.send(refused).expect("a receiver");
            main.kick();
        });
        bql.poll_until(|_| refused.try_recv() == Ok(true));
        Ok(())
    });
}
