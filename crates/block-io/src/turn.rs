//! Letting other tasks of the thread run.
//!
//! A request that completes at once never returns to the event loop. A task
//! that submits nothing but such requests would keep its thread for ever, and
//! whatever else is at home there, the end of a drained section included,
//! would wait. So each thread counts the requests that begin on it, and lets
//! every so many-th give way first.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::engine::thread_shard;

/// How much is done in a row, in requests that cost next to nothing: some ten
/// microseconds' worth.
const IN_A_ROW: u32 = 128;

/// What a transfer on the spot costs, in the same unit: the system call, and
/// so much for each page.
const CALL: u32 = 4;
const PAGE: usize = 4096;

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
    if cfg!(block_loom) {
        // A model begins few requests, and must do the same each time.
        return Some(thread_shard());
    }
    LEFT.with(|cell| {
        let (left, shard) = cell.get();
        let left = left.checked_sub(1)?;
        cell.set((left, shard));
        Some(shard as usize)
    })
}

/// `bytes` bytes have been transferred on the spot, which took longer than
/// most requests do.
pub(crate) fn charge(bytes: usize) {
    let (left, shard) = LEFT.get();
    let pages = u32::try_from(bytes / PAGE).unwrap_or(u32::MAX);
    LEFT.set((left.saturating_sub(pages.saturating_add(CALL)), shard));
}

/// Whether the thread's turn is over, so that the next request would give way
/// before it begins.
///
/// Who has just ended one gives way now: a sequence that several tasks carry
/// out keeps its order, as nobody has a place in it and lets others pass. (File
/// systems like to be written in order.)
#[inline]
pub(crate) fn is_over() -> bool {
    !cfg!(block_loom) && LEFT.get().0 == 0
}

/// Returns after the other tasks of the thread that are ready have run.
#[cold]
pub(crate) async fn give_way() -> usize {
    let mut gave_way = false;
    poll_fn(|cx| poll(cx, &mut gave_way)).await;
    LEFT.with(|cell| cell.get().1 as usize)
}

/// Ready if the task may go on at once; otherwise it is polled again after
/// the others. Once: what they do with their turn does not keep this one
/// waiting.
pub(crate) fn poll(cx: &mut Context<'_>, gave_way: &mut bool) -> Poll<()> {
    if take().is_some() || *gave_way {
        return Poll::Ready(());
    }
    let (_, shard) = LEFT.get();
    let first = shard == NO_SHARD;
    LEFT.set((IN_A_ROW, thread_shard() as u32));
    if first {
        return Poll::Ready(());
    }
    *gave_way = true;
    cx.waker().wake_by_ref();
    Poll::Pending
}
