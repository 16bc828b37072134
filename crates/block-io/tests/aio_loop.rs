//! The event loop of one thread: bottom halves, tasks, nested polling, timers.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use block_io::aio::{
    AioContext, AioError, EventLoop, HomeThread, LoopOptions, Wait, sleep, sleep_until, yield_now,
};
use static_assertions::{assert_impl_all, assert_not_impl_any};

assert_impl_all!(AioContext: Send, Sync, Clone, Eq, std::hash::Hash);
assert_not_impl_any!(EventLoop: Send, Sync);
assert_not_impl_any!(HomeThread<'static>: Send, Sync);

/// Runs a test with io_uring, where the kernel has it, and without.
fn on_each_loop(test: impl Fn(&EventLoop)) {
    for io_uring in [true, false] {
        let mut options = LoopOptions::default();
        options.io_uring = io_uring;
        let event_loop = EventLoop::with_options("test", options).unwrap();
        test(&event_loop);
    }
}

fn forever() -> Wait {
    Wait::Until(None)
}

fn drain(event_loop: &EventLoop) {
    while event_loop.poll(Wait::No) {}
}

/// What a panic says.
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref().cloned()).unwrap()
}

#[derive(Clone, Default)]
struct Count(Arc<AtomicU32>);

impl Count {
    fn add(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn get(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A one-shot signal between tasks that counts on being woken.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<(bool, Vec<Waker>)>>);

impl Gate {
    fn open(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        let wakers = std::mem::take(&mut state.1);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    async fn wait(&self) {
        poll_fn(|cx| {
            let mut state = self.0.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            state.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

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
fn a_nested_poll_runs_what_the_outer_one_has_not_started() {
    on_each_loop(|event_loop| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let gate = Gate::default();
        let note = |name: &'static str| {
            let order = Arc::clone(&order);
            move || order.lock().unwrap().push(name)
        };
        let (begin, end) = (note("begin"), note("end"));
        let waited = gate.clone();
        event_loop.context().schedule(move |home| {
            begin();
            home.block_on(waited.wait()).unwrap();
            end();
        });
        let other = note("other bottom half");
        event_loop.context().schedule(move |_| other());
        let task = note("task");
        let task = async move {
            task();
            gate.open();
        };
        drop(event_loop.context().spawn(task));
        assert!(event_loop.poll(forever()));
        assert_eq!(
            *order.lock().unwrap(),
            ["begin", "other bottom half", "task", "end"]
        );
        drain(event_loop);
    });
}

#[test]
fn an_outer_poll_keeps_its_bound_after_a_nested_one() {
    on_each_loop(|event_loop| {
        let _entered = event_loop.enter().unwrap();
        let late = Count::default();
        let inner = late.clone();
        event_loop.context().schedule(move |home| {
            // Takes "first" away from the outer poll, then queues what the next poll runs.
            home.block_on(yield_now()).unwrap();
            home.context().schedule(move |_| {
                inner.add();
            });
        });
        event_loop.context().schedule(|_| ());
        event_loop.poll(Wait::No);
        assert_eq!(late.get(), 0);
        event_loop.poll(Wait::No);
        assert_eq!(late.get(), 1);
    });
}

#[test]
fn a_nested_poll_drives_the_future_of_an_outer_block_on() {
    on_each_loop(|event_loop| {
        let steps = Cell::new(0);
        let gate = Gate::default();
        let (waited, opened) = (gate.clone(), gate.clone());
        let context = event_loop.context().clone();
        event_loop.block_on(async {
            steps.set(1);
            let inner = Gate::default();
            let inner_waited = inner.clone();
            // This bottom half is still on the stack while the future goes on.
            context.schedule(move |home| {
                opened.open();
                home.block_on(inner_waited.wait()).unwrap();
            });
            waited.wait().await;
            steps.set(2);
            inner.open();
            yield_now().await;
            steps.set(3);
        });
        assert_eq!(steps.get(), 3);
    });
}

#[test]
fn the_main_loop_is_not_polled_with_a_home_thread() {
    let event_loop = EventLoop::new_main("main").unwrap();
    assert!(event_loop.context().is_main());
    let (sender, receiver) = mpsc::channel();
    event_loop.context().schedule(move |home| {
        sender
            .send(home.block_on(async {}).unwrap_err().to_string())
            .unwrap();
    });
    drain(&event_loop);
    assert!(receiver.recv().unwrap().contains("&mut BqlGuard"));
}

#[test]
fn block_on_borrows_and_need_not_be_send() {
    on_each_loop(|event_loop| {
        let local = Rc::new(RefCell::new(vec![1]));
        let mut number = 0;
        let result = event_loop.block_on(async {
            for _ in 0..3 {
                yield_now().await;
                number += 1;
                local.borrow_mut().push(number);
            }
            local.borrow().len()
        });
        assert_eq!((result, number), (4, 3));
    });
}

#[test]
fn block_on_with_runs_the_callers_work_in_each_turn() {
    on_each_loop(|event_loop| {
        let queue = Arc::new(Mutex::new(Vec::<Gate>::new()));
        let gate = Gate::default();
        let context = event_loop.context().clone();
        let helper = {
            let (queue, gate) = (Arc::clone(&queue), gate.clone());
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(20));
                queue.lock().unwrap().push(gate);
                context.kick();
            })
        };
        event_loop.block_on_with(gate.wait(), || {
            let work = std::mem::take(&mut *queue.lock().unwrap());
            work.iter().for_each(Gate::open);
        });
        helper.join().unwrap();
    });
}

#[test]
fn a_panic_in_block_on_reaches_its_caller_and_nobody_else() {
    on_each_loop(|event_loop| {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            event_loop.block_on(async {
                yield_now().await;
                panic!("boom");
            })
        }));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"boom"));
        assert_eq!(event_loop.block_on(async { 5 }), 5);

        // The outer future panics while an inner `block_on` polls; the inner one goes on.
        let gate = Gate::default();
        let finished = Count::default();
        let (opened, inner_finished) = (gate.clone(), finished.clone());
        let context = event_loop.context().clone();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            event_loop.block_on(async {
                context.schedule(move |home| {
                    let inner = async {
                        opened.open();
                        yield_now().await;
                        yield_now().await;
                        inner_finished.add();
                    };
                    home.block_on(inner).unwrap();
                });
                gate.wait().await;
                panic!("outer");
            })
        }));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"outer"));
        assert_eq!(finished.get(), 1);
    });
}

#[test]
fn unwinding_out_of_block_on_drops_the_future_before_the_stack_goes() {
    on_each_loop(|event_loop| {
        let kept_waker = RefCell::new(None);
        let dropped = Cell::new(false);
        struct OnDrop<'a>(&'a Cell<bool>);
        impl Drop for OnDrop<'_> {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        event_loop.context().schedule(|_| panic!("bottom half"));
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let borrowed = String::from("on this stack");
            event_loop.block_on(async {
                let _on_drop = OnDrop(&dropped);
                poll_fn(|cx| {
                    *kept_waker.borrow_mut() = Some(cx.waker().clone());
                    // Queued once more, behind the panicking bottom half.
                    cx.waker().wake_by_ref();
                    assert_eq!(borrowed, "on this stack");
                    Poll::<()>::Pending
                })
                .await;
            })
        }));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"bottom half"));
        // The bottom half came first, so the future may not even have started.
        assert!(dropped.get() || kept_waker.borrow().is_none());

        event_loop.context().schedule(|home| {
            home.context().schedule(|_| panic!("later"));
        });
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let borrowed = String::from("on this stack");
            event_loop.block_on(async {
                let _on_drop = OnDrop(&dropped);
                poll_fn(|cx| {
                    *kept_waker.borrow_mut() = Some(cx.waker().clone());
                    cx.waker().wake_by_ref();
                    assert_eq!(borrowed, "on this stack");
                    Poll::<()>::Pending
                })
                .await;
            })
        }));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"later"));
        assert!(dropped.get());
        // The queue still holds the scope's entry, and its waker lives on; both are harmless.
        drain(event_loop);
        let waker = kept_waker.take().unwrap();
        waker.wake_by_ref();
        thread::spawn(move || waker.wake()).join().unwrap();
        drain(event_loop);
    });
}

#[test]
fn a_panic_in_a_task_reaches_who_awaits_it_and_the_loop_goes_on() {
    on_each_loop(|event_loop| {
        let task = event_loop.context().spawn(async { panic!("task") });
        drop(event_loop.context().spawn(async { panic!("detached") }));
        drain(event_loop);
        assert!(task.is_finished());
        let caught = catch_unwind(AssertUnwindSafe(|| event_loop.block_on(task)));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"task"));
        assert_eq!(
            event_loop.block_on(event_loop.context().spawn(async { 7 })),
            7
        );
    });
}

#[test]
fn a_panic_in_a_bottom_half_leaves_the_rest_queued() {
    on_each_loop(|event_loop| {
        let count = Count::default();
        event_loop.context().schedule(|_| panic!("bottom half"));
        let behind = count.clone();
        event_loop.context().schedule(move |_| {
            behind.add();
        });
        assert!(catch_unwind(AssertUnwindSafe(|| event_loop.poll(Wait::No))).is_err());
        assert_eq!(AioContext::current(), None);
        assert!(event_loop.poll(Wait::No));
        assert_eq!(count.get(), 1);
    });
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
