//! Rule R12: A request handler in an iothread does not take a permission for itself.
//! QEMU: V053, fuse_do_truncate() -> blk_set_perm() -> bdrv_child_try_set_perm().
//! Shape: argument.
//! Why: The outermost function that updates permissions already takes the `&mut BqlGuard`.

use block_gs::{Backend, BqlGuard, GraphError, Perm};
use block_io::aio::HomeThread;
use std::sync::mpsc;
use ui_tests::{Outcome, disk, in_main_loop, iothread, null};

fn bdrv_child_try_set_perm(
    bql: &mut BqlGuard,
    export: &Backend,
    perm: Perm,
) -> Result<(), GraphError> {
    export.set_perm(bql, perm, Perm::all())
}

fn blk_set_perm(export: &Backend, perm: Perm) -> Result<(), GraphError> {
    bdrv_child_try_set_perm(export, perm)
    //~^ E0061 "argument #1 of type `&mut BqlGuard` is missing"
}

/// Called by the loop of the iothread when the FUSE descriptor is readable.
fn fuse_do_truncate(home: &mut HomeThread<'_>, export: &Backend) -> Outcome {
    blk_set_perm(export, Perm::WRITE | Perm::RESIZE)?;
    export.flush_blocking(home)?;
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let (export, main) = (disk(bql, "export", &node), bql.main_loop());
        export.set_iothread(bql, Some(&io0))?;
        let (reply, replied) = mpsc::channel();
        io0.context().schedule(move |home| {
            let truncated = fuse_do_truncate(home, &export);
            reply.send(truncated.is_ok()).expect("a receiver");
            main.kick();
        });
        bql.poll_until(|_| replied.try_recv() == Ok(true));
        Ok(())
    });
}
