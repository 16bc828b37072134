//! Limit: A result that is dropped on purpose is ignored: the types ask for a look, not for an
//! answer.
//! QEMU: (void)blk_flush(blk).
//! Why: `let _ =` and `drop` use the value. They can be searched for.

#![deny(unused_must_use)]

use block_gs::{BqlGuard, Perm};
use ui_tests::{disk, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let (_reader, writer) = (disk(bql, "reader", &node), disk(bql, "writer", &node));
        let _ = writer.set_perm(bql, Perm::WRITE, Perm::empty());
        drop(writer.flush_blocking(bql));
        assert!(writer.perms(bql).shared.contains(Perm::WRITE));
        Ok(())
    });
}
