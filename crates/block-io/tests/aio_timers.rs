//! Timers, and how long a poll blocks.

mod aio_support;

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use block_io::aio::{EventLoop, Wait, sleep, sleep_until};

use aio_support::{Count, drain, forever, on_each_loop, text_of};

#[test]
fn timers_fire_in_the_order_of_their_deadlines() {
    on_each_loop(|event_loop| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let start = Instant::now();
        let tasks: Vec<_> = [30, 10, 20, 10, 0]
            .into_iter()
            .enumerate()
            .map(|(index, millis)| {
                let order = Arc::clone(&order);
                event_loop.context().spawn(async move {
                    let deadline = start + Duration::from_millis(millis);
                    sleep_until(deadline).await;
                    assert!(Instant::now() >= deadline, "never early");
                    order.lock().unwrap().push(index);
                })
            })
            .collect();
        event_loop.block_on(async {
            for task in tasks {
                task.await;
            }
        });
        assert_eq!(*order.lock().unwrap(), [4, 1, 3, 2, 0]);
    });
}

#[test]
fn a_blocking_poll_ends_at_its_time_and_at_a_timer() {
    on_each_loop(|event_loop| {
        let deadline = Instant::now() + Duration::from_millis(20);
        while Instant::now() < deadline {
            assert!(!event_loop.poll(Wait::Until(Some(deadline))));
        }
        let task = event_loop.context().spawn(sleep(Duration::from_millis(5)));
        while !task.is_finished() {
            event_loop.poll(forever());
        }
        event_loop.block_on(task);
    });
}

#[test]
fn a_dropped_sleep_does_not_keep_the_loop_awake() {
    on_each_loop(|event_loop| {
        let task = event_loop.context().spawn(sleep(Duration::from_millis(5)));
        drain(event_loop);
        assert_eq!(event_loop.block_on(task.cancel()), None);
        let deadline = Instant::now() + Duration::from_millis(30);
        while Instant::now() < deadline {
            assert!(
                !event_loop.poll(Wait::Until(Some(deadline))),
                "no timer is left"
            );
        }
    });
}

#[test]
fn a_sleep_dropped_by_another_thread_is_forgotten() {
    on_each_loop(|event_loop| {
        let woken = Count::default();
        struct Noting(Count);
        impl std::task::Wake for Noting {
            fn wake(self: Arc<Self>) {
                self.0.add();
            }
        }
        let waker = Waker::from(Arc::new(Noting(woken.clone())));
        let mut sleep = Box::pin(sleep(Duration::from_millis(5)));
        let entered = event_loop.enter().unwrap();
        let mut cx = std::task::Context::from_waker(&waker);
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        drop(entered);
        thread::spawn(move || drop(sleep)).join().unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        while Instant::now() < deadline {
            event_loop.poll(Wait::Until(Some(deadline)));
        }
        assert_eq!(woken.get(), 0);
    });
}

#[test]
fn a_sleep_follows_the_context_it_is_polled_in() {
    let first = EventLoop::new("first").unwrap();
    let second = EventLoop::new("second").unwrap();
    let mut sleep = Box::pin(sleep(Duration::from_millis(5)));
    first.block_on(poll_fn(|cx| {
        assert!(sleep.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    }));
    second.block_on(sleep);
    // Nothing is left behind in the first loop.
    let deadline = Instant::now() + Duration::from_millis(10);
    while Instant::now() < deadline {
        assert!(!first.poll(Wait::Until(Some(deadline))));
    }
}

#[test]
fn a_sleep_without_a_loop_says_what_is_missing() {
    let mut sleep = Box::pin(sleep(Duration::from_millis(1)));
    let mut cx = std::task::Context::from_waker(Waker::noop());
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _ = sleep.as_mut().poll(&mut cx);
    }));
    assert!(text_of(&*panic.unwrap_err()).contains("entered no event loop"));
}

#[test]
fn a_sleep_beyond_the_clock_is_never_over() {
    let event_loop = EventLoop::new("test").unwrap();
    let task = event_loop.context().spawn(sleep(Duration::MAX));
    drain(&event_loop);
    event_loop.block_on(sleep(Duration::from_millis(2)));
    assert!(!task.is_finished());
}

#[test]
fn a_kick_before_the_sleep_is_not_lost() {
    on_each_loop(|event_loop| {
        event_loop.context().kick();
        assert!(
            !event_loop.poll(forever()),
            "returns at once, without progress"
        );
        let context = event_loop.context().clone();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let helper = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            stopped.store(true, Ordering::Release);
            context.kick();
        });
        while !stop.load(Ordering::Acquire) {
            event_loop.poll(forever());
        }
        helper.join().unwrap();
    });
}
