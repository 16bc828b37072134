//! Twin of bad.rs: the read is dropped, and the buffer asked whether something still writes to
//! it.

use block_gs::BqlGuard;
use block_io::aio::yield_now;
use block_io::{Activity, Buffer, IoError, Request};
use std::{future::poll_fn, pin::pin};
use ui_tests::{in_main_loop, null};

async fn read_or_give_up(request: Request<'_>, buffer: &mut Buffer) -> Result<(), IoError> {
    let read = Box::pin(request.read(0, buffer.destination()));
    let mut timer = pin!(yield_now());
    let timed_out = poll_fn(|context| timer.as_mut().poll(context)).await;
    assert_eq!(timed_out, ());
    drop(read);
    if buffer.is_idle() {
        buffer.as_mut_slice().fill(1);
    }
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let counted = Activity::try_begin(node.io()).expect("not quiesced");
        let mut buffer = Buffer::zeroed(512);
        bql.block_on(read_or_give_up(counted.request(), &mut buffer))?;
        Ok(())
    });
}
