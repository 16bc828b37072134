//! The event loop of one thread: bottom halves, tasks, their order and their end.

mod aio_support;

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;

use block_io::aio::{AioContext, AioError, EventLoop, HomeThread, Wait, yield_now};

use aio_support::{Count, Gate, drain, forever, on_each_loop, text_of};
use static_assertions::{assert_impl_all, assert_not_impl_any};

assert_impl_all!(AioContext: Send, Sync, Clone, Eq, std::hash::Hash);
assert_not_impl_any!(EventLoop: Send, Sync);
assert_not_impl_any!(HomeThread<'static>: Send, Sync);

#[test]
fn a_bottom_half_runs_once_and_not_at_once() {
    on_each_loop(|event_loop| {
        let count = Count::default();
        let bottom_half = {
            let count = count.clone();
            move |home: &mut HomeThread<'_>| {
                assert!(home.context().is_current());
                count.add();
            }
        };
        event_loop.context().schedule(bottom_half);
        assert_eq!(count.get(), 0);
        assert!(event_loop.poll(forever()));
        assert_eq!(count.get(), 1);
        assert!(!event_loop.poll(Wait::No));
        assert_eq!(count.get(), 1);
    });
}

#[test]
fn a_bottom_half_that_schedules_itself_runs_once_per_poll() {
    fn again(home: &mut HomeThread<'_>, count: Count) {
        if count.add() < 10 {
            home.context()
                .clone()
                .schedule(move |home| again(home, count));
        }
    }
    on_each_loop(|event_loop| {
        let _entered = event_loop.enter().unwrap();
        let count = Count::default();
        let first = count.clone();
        event_loop
            .context()
            .schedule(move |home| again(home, first));
        for turn in 1..=10 {
            assert!(event_loop.poll(forever()));
            assert_eq!(count.get(), turn);
        }
        assert!(!event_loop.poll(Wait::No));
        assert_eq!(count.get(), 10);
    });
}

#[test]
fn order_of_scheduling_is_kept_between_bottom_halves_and_tasks() {
    on_each_loop(|event_loop| {
        let order = Arc::new(Mutex::new(Vec::new()));
        for index in 0..20 {
            let order = Arc::clone(&order);
            if index % 2 == 0 {
                event_loop
                    .context()
                    .schedule(move |_| order.lock().unwrap().push(index));
            } else {
                let task = async move { order.lock().unwrap().push(index) };
                drop(event_loop.context().spawn(task));
            }
        }
        drain(event_loop);
        assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    });
}

#[test]
fn what_is_queued_is_dropped_with_the_loop() {
    let (kept, weak) = {
        let token = Arc::new(());
        let weak = Arc::downgrade(&token);
        (token, weak)
    };
    let event_loop = EventLoop::new("test").unwrap();
    let context = event_loop.context().clone();
    context.schedule(move |_| drop(kept));
    drop(event_loop);
    assert!(weak.upgrade().is_none());
    // A context without a loop drops what it is sent.
    let token = Arc::new(());
    let sent = Arc::clone(&token);
    context.schedule(move |_| drop(sent));
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn parked_tasks_are_dropped_with_the_loop_on_its_thread() {
    struct Owner(mpsc::Sender<thread::ThreadId>);
    impl Drop for Owner {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }
    let (sender, receiver) = mpsc::channel();
    let event_loop = EventLoop::new("test").unwrap();
    let gate = Gate::default();
    let task = {
        let (gate, owner) = (gate.clone(), Owner(sender));
        event_loop.context().spawn(async move {
            let _owner = owner;
            gate.wait().await;
        })
    };
    drain(&event_loop);
    drop(event_loop);
    assert_eq!(receiver.try_recv(), Ok(thread::current().id()));
    assert!(task.is_finished());
    gate.open();
    let other = EventLoop::new("other").unwrap();
    assert_eq!(other.block_on(task.cancel()), None);
}

#[test]
fn awaiting_a_task_whose_loop_ended_panics_with_the_reason() {
    let event_loop = EventLoop::new("test").unwrap();
    let task = event_loop.context().spawn(pending::<()>());
    drain(&event_loop);
    drop(event_loop);
    let other = EventLoop::new("other").unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| other.block_on(task))).unwrap_err();
    assert!(text_of(&*panic).contains("AioContext ended"));
}

#[test]
fn one_thread_is_on_one_loop_at_a_time() {
    let first = EventLoop::new("first").unwrap();
    let second = EventLoop::new("second").unwrap();
    assert_eq!(AioContext::current(), None);
    let entered = first.enter().unwrap();
    assert_eq!(AioContext::current().as_ref(), Some(first.context()));
    assert!(first.context().is_current());
    let error = second.enter().unwrap_err();
    assert!(matches!(error, AioError::AlreadyEntered { .. }));
    assert!(error.to_string().contains("'first'") && error.to_string().contains("'second'"));
    assert!(first.enter().is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| second.poll(Wait::No))).is_err());
    drop(entered);
    assert_eq!(AioContext::current(), None);
    assert!(!second.poll(Wait::No));
    assert_eq!(
        AioContext::current(),
        None,
        "poll enters for its own time only"
    );
}

#[test]
fn a_loop_can_end_inside_another_one() {
    let outer = EventLoop::new("outer").unwrap();
    outer.block_on(async {
        let inner = EventLoop::new("inner").unwrap();
        drop(inner.context().spawn(pending::<()>()));
        drop(inner);
        assert_eq!(AioContext::current().unwrap().name(), "outer");
    });
}

#[test]
fn a_leaked_entry_does_not_outlive_its_loop() {
    let event_loop = EventLoop::new("test").unwrap();
    std::mem::forget(event_loop.enter().unwrap());
    assert!(!event_loop.poll(Wait::No));
    drop(event_loop);
    assert_eq!(AioContext::current(), None);
}

#[test]
fn tasks_that_wake_each_other_do_not_use_up_the_stack() {
    on_each_loop(|event_loop| {
        struct Turns {
            turn: u32,
            wakers: [Option<Waker>; 2],
        }
        const ROUNDS: u32 = 25_000;
        let turns = Arc::new(Mutex::new(Turns {
            turn: 0,
            wakers: [None, None],
        }));
        let player = |me: usize| {
            let turns = Arc::clone(&turns);
            async move {
                for _ in 0..ROUNDS {
                    poll_fn(|cx| {
                        let mut turns = turns.lock().unwrap();
                        if turns.turn as usize % 2 != me {
                            turns.wakers[me] = Some(cx.waker().clone());
                            return Poll::Pending;
                        }
                        turns.turn += 1;
                        let other = turns.wakers[1 - me].take();
                        drop(turns);
                        if let Some(other) = other {
                            other.wake();
                        }
                        Poll::Ready(())
                    })
                    .await;
                }
            }
        };
        let first = event_loop.context().spawn(player(0));
        let second = event_loop.context().spawn(player(1));
        event_loop.block_on(async {
            first.await;
            second.await;
        });
        assert_eq!(turns.lock().unwrap().turn, 2 * ROUNDS);
    });
}

#[test]
fn a_cancelled_task_is_dropped_in_its_context() {
    on_each_loop(|event_loop| {
        let token = Arc::new(());
        let held = Arc::clone(&token);
        let task = event_loop.context().spawn(async move {
            pending::<()>().await;
            drop(held);
        });
        drain(event_loop);
        assert_eq!(Arc::strong_count(&token), 2);
        assert_eq!(event_loop.block_on(task.cancel()), None);
        assert_eq!(Arc::strong_count(&token), 1);

        let done = event_loop.context().spawn(async { 3 });
        drain(event_loop);
        assert_eq!(event_loop.block_on(done.cancel()), Some(3));

        let never_ran = event_loop.context().spawn(async { 3 });
        assert_eq!(event_loop.block_on(never_ran.cancel()), None);
    });
}

#[test]
fn dropping_the_handle_lets_the_task_go_on() {
    on_each_loop(|event_loop| {
        let count = Count::default();
        let inner = count.clone();
        drop(event_loop.context().spawn(async move {
            yield_now().await;
            inner.add();
        }));
        drain(event_loop);
        assert_eq!(count.get(), 1);
    });
}
