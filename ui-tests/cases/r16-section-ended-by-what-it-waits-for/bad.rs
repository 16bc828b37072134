//! Rule R16: A section is not ended by what is waited for in it.
//! QEMU: None recorded. A coroutine may call bdrv_drained_end() while bdrv_drained_begin()
//! polls.
//! Shape: async.
//! Why: Waiting borrows the section, and ending takes it.

use block_gs::BqlGuard;
use block_io::aio::yield_now;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let mut section = node.drain(bql);
        section.block_on(async {
            //~^ E0505 "cannot move out of `section` because it is borrowed"
            yield_now().await;
            section.end();
        });
        assert_eq!(node.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
