//! Letting other tasks of the thread run.
//!
//! A request that completes at once never returns to the event loop. A task
//! that submits nothing but such requests would keep its thread for ever, and
//! whatever else is at home there, the end of a drained section included,
//! would wait. So each thread counts the requests that begin on it, and lets
//! every so many-th give way first.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;

use crate::engine::thread_shard;

/// How many requests begin in a row: some ten microseconds' worth.
const IN_A_ROW: u32 = 128;

/// The thread has begun no request yet.
const NO_SHARD: u32 = u32::MAX;

thread_local! {
    /// How many more may begin, and the thread's shard.
    static LEFT: Cell<(u32, u32)> = const { Cell::new((0, NO_SHARD)) };
}

/// One of the requests that may begin at once, if there is one left; and the
/// [shard](thread_shard) of the thread.
#[inline]
pub(crate) fn take() -> Option<usize> {
    LEFT.with(|cell| {
        let (left, shard) = cell.get();
        let left = left.checked_sub(1)?;
        cell.set((left, shard));
        Some(shard as usize)
    })
}

/// Returns after the other tasks of the thread that are ready have run.
#[cold]
pub(crate) async fn give_way() -> usize {
    let mut waited = LEFT.with(|cell| cell.get().1 == NO_SHARD);
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    let shard = thread_shard();
    LEFT.with(|cell| cell.set((IN_A_ROW, shard as u32)));
    shard
}
