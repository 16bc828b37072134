//! Rule R8: A coroutine does not wait by blocking its thread.
//! QEMU: V042, a generated co_wrapper polls outside a coroutine, and its caller has to know
//! where it is.
//! Shape: async.
//! Why: What blocks takes one of the two proofs of a caller that may, and a context is neither.

use block_gs::{Backend, BqlGuard};
use block_io::Buffer;
use ui_tests::{Outcome, disk, in_main_loop, iothread, null};

async fn nbd_co_receive_one_chunk(backend: Backend) -> Outcome {
    let mut buffer = Buffer::zeroed(512);
    let mut context = backend.root().context();
    backend.read_blocking(&mut context, 0, buffer.destination())?;
    //~^ E0277 "waiting for I/O needs a proof of the main thread or of the home thread, and `AioContext` is neither"
    assert!(buffer.as_slice().iter().all(|&byte| byte == 0));
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let disk = disk(bql, "disk", &node);
        disk.set_iothread(bql, Some(&io0))?;
        bql.block_on(nbd_co_receive_one_chunk(disk.clone()))
    });
}
