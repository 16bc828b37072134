//! Accept A3: Global-state code drives I/O to its end, also inside its own drained section.
//! QEMU: bdrv_flush() in bdrv_reopen_prepare(), between bdrv_drained_begin() and _end().
//! Why: Waiting takes the exclusive proof; the section lends its owner a request.

use block_gs::BqlGuard;
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        disk.flush_blocking(bql)?;
        let mut section = node.drain(bql);
        assert!(disk.root().try_begin().is_none());
        section.io(async |request| request.flush().await)?;
        section.end();
        disk.flush_blocking(bql)?;
        Ok(())
    });
}
