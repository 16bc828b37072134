//! Bottom halves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use block_io::aio::HomeThread;

use crate::{FOREVER, assert_idle, event_loop};

type Count = Arc<AtomicU32>;

/// A bottom half that counts how often it runs.
fn counting(count: &Count) -> impl FnOnce(&mut HomeThread<'_>) + Send + 'static {
    let count = Arc::clone(count);
    move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// `/aio/bh/schedule`
#[test]
fn bh_schedule() {
    let (event_loop, count) = (event_loop(), Count::default());
    event_loop.context().schedule(counting(&count));
    assert_eq!(count.load(Ordering::Relaxed), 0);
    assert!(event_loop.poll(FOREVER));
    assert_eq!(count.load(Ordering::Relaxed), 1);
    assert_idle(&event_loop);
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

/// `/aio/bh/schedule10`
#[test]
fn bh_schedule10() {
    fn again(home: &mut HomeThread<'_>, count: Count) {
        if count.fetch_add(1, Ordering::Relaxed) + 1 < 10 {
            let context = home.context().clone();
            context.schedule(move |home| again(home, count));
        }
    }
    let (event_loop, count) = (event_loop(), Count::default());
    let first = Arc::clone(&count);
    event_loop
        .context()
        .schedule(move |home| again(home, first));
    assert_eq!(count.load(Ordering::Relaxed), 0);
    for turn in 1..=10 {
        assert!(event_loop.poll(FOREVER));
        assert_eq!(count.load(Ordering::Relaxed), turn);
    }
    assert_idle(&event_loop);
    assert_eq!(count.load(Ordering::Relaxed), 10);
}

/// `/aio/bh/delete`: a task that is cancelled before its first turn.
#[test]
fn bh_delete() {
    let (event_loop, count) = (event_loop(), Count::default());
    let counted = Arc::clone(&count);
    let task = event_loop.context().spawn(async move {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(Arc::strong_count(&count), 2);
    assert_eq!(event_loop.block_on(task.cancel()), None);
    while event_loop.poll(block_io::aio::Wait::No) {}
    assert_eq!(count.load(Ordering::Relaxed), 0);
    assert_eq!(Arc::strong_count(&count), 1, "it is gone");
}

/// `/aio/bh/callback-delete/one`: every bottom half is gone when it has run.
#[test]
fn bh_callback_delete_one() {
    let (event_loop, count) = (event_loop(), Count::default());
    event_loop.context().schedule(counting(&count));
    assert_eq!(Arc::strong_count(&count), 2);
    assert!(event_loop.poll(FOREVER));
    assert_eq!(count.load(Ordering::Relaxed), 1);
    assert_eq!(Arc::strong_count(&count), 1, "it is gone");
    assert_idle(&event_loop);
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

/// `/aio/bh/flush`
#[test]
fn bh_flush() {
    let (event_loop, count) = (event_loop(), Count::default());
    event_loop.context().schedule(counting(&count));
    while count.load(Ordering::Relaxed) == 0 {
        event_loop.poll(FOREVER);
    }
    assert_idle(&event_loop);
    assert_eq!(count.load(Ordering::Relaxed), 1);
}
