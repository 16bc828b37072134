//! Rule R11: Who gives a read up because a timer was first does not use the buffer while the
//! read exists.
//! QEMU: None recorded. A request that was given up may still write to its buffer.
//! Shape: async.
//! Why: The future borrows the buffer until it is dropped, and it may be polled again.

use block_gs::BqlGuard;
use block_io::aio::yield_now;
use block_io::{Activity, Buffer, IoError, Request};
use std::{future::poll_fn, pin::pin};
use ui_tests::{in_main_loop, null};

async fn read_or_give_up(request: Request<'_>, buffer: &mut Buffer) -> Result<(), IoError> {
    let mut read = Box::pin(request.read(0, buffer.destination()));
    let mut timer = pin!(yield_now());
    let timed_out = poll_fn(|context| timer.as_mut().poll(context)).await;
    assert_eq!(timed_out, ());
    buffer.as_mut_slice().fill(1);
    //~^ E0499 "cannot borrow `*buffer` as mutable more than once at a time"
    poll_fn(|context| read.as_mut().poll(context)).await
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
