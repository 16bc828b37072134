//! Twin of bad.rs: without the permission the request is refused.

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

fn blk_set_perm(bql: &mut BqlGuard, export: &Backend, perm: Perm) -> Result<(), GraphError> {
    bdrv_child_try_set_perm(bql, export, perm)
}

/// Called by the loop of the iothread when the FUSE descriptor is readable.
fn fuse_do_truncate(home: &mut HomeThread<'_>, export: &Backend) -> Outcome {
    let in_flight = home.block_on(export.root().begin())?;
    if !in_flight.request()?.perm().contains(Perm::RESIZE) {
        return Err("EPERM".into());
    }
    export.flush_blocking(home)?;
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let (export, main) = (disk(bql, "export", &node), bql.main_loop());
        export.set_iothread(bql, Some(&io0))?;
        blk_set_perm(bql, &export, Perm::WRITE | Perm::RESIZE)?;
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
