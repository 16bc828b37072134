//! Event loops on several threads: wake-ups, moves, worker threads.

mod aio_support;

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use block_io::aio::{
    AioContext, AioError, ContextThread, EventLoop, Home, Wait, run_blocking, sleep, yield_now,
};

use aio_support::{Gate, with_each_option};

fn current() -> AioContext {
    AioContext::current().expect("on a loop")
}

#[test]
fn five_threads_live_and_end() {
    with_each_option(|options| {
        let threads: Vec<_> = (0..5)
            .map(|index| ContextThread::with_options(&format!("io{index}"), options).unwrap())
            .collect();
        let (sender, receiver) = mpsc::channel();
        for thread in &threads {
            let sender = sender.clone();
            thread.context().schedule(move |home| {
                assert_eq!(thread::current().name(), Some(home.context().name()));
                sender.send(home.context().clone()).unwrap();
            });
        }
        for _ in &threads {
            let context = receiver.recv().unwrap();
            assert!(threads.iter().any(|thread| *thread.context() == context));
        }
        for thread in threads {
            thread.stop().unwrap();
        }
    });
}

#[test]
fn a_stopped_thread_first_runs_what_is_queued() {
    let thread = ContextThread::spawn("io").unwrap();
    let count = Arc::new(AtomicU32::new(0));
    for _ in 0..100 {
        let count = Arc::clone(&count);
        thread.context().schedule(move |home| {
            home.context().clone().schedule(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
            });
        });
    }
    let token = Arc::new(());
    let held = Arc::clone(&token);
    drop(thread.context().spawn(async move {
        pending::<()>().await;
        drop(held);
    }));
    thread.stop().unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 100);
    assert_eq!(Arc::strong_count(&token), 1, "the parked task is dropped");
}

#[test]
fn a_thread_cannot_wait_for_its_own_end() {
    let thread = ContextThread::spawn("io").unwrap();
    let context = thread.context().clone();
    let token = Arc::new(());
    let held = Arc::clone(&token);
    drop(context.spawn(async move {
        let _held = held;
        pending::<()>().await;
    }));
    let (sender, receiver) = mpsc::channel();
    context.schedule(move |_| sender.send(thread.stop().unwrap_err()).unwrap());
    assert!(matches!(
        receiver.recv().unwrap(),
        AioError::StopFromItself { .. }
    ));
    // It ends nevertheless, and drops what it holds.
    while Arc::strong_count(&token) > 1 {
        thread::yield_now();
    }
}

#[test]
fn a_panic_ends_the_thread_and_is_reported() {
    let thread = ContextThread::spawn("io").unwrap();
    thread.context().schedule(|_| panic!("bottom half"));
    assert!(matches!(
        thread.stop(),
        Err(AioError::ThreadPanicked { .. })
    ));
}

#[test]
fn another_thread_wakes_a_task_which_runs_at_home() {
    with_each_option(|options| {
        let event_loop = EventLoop::with_options("main", options).unwrap();
        let gate = Gate::default();
        let inner = gate.clone();
        let home = thread::current().id();
        let task = event_loop.context().spawn(async move {
            inner.wait().await;
            assert_eq!(thread::current().id(), home);
        });
        while gate.waiters() == 0 {
            event_loop.poll(Wait::No);
        }
        let waker = gate.clone();
        let worker = thread::spawn(move || waker.open());
        worker.join().unwrap();
        assert!(!task.is_finished(), "it runs at home only");
        assert!(event_loop.poll(Wait::Until(None)));
        assert!(task.is_finished());
    });
}

/// Two tasks in two loops hand a turn to and fro. Any lost wake-up stops the test for ever.
#[test]
fn wake_ups_between_two_threads_are_not_lost() {
    const TURNS: u64 = 100_000;
    with_each_option(|options| {
        let threads =
            ["ping", "pong"].map(|name| ContextThread::with_options(name, options).unwrap());
        let turn = Arc::new(AtomicU64::new(0));
        let wakers = Arc::new([Mutex::new(None::<Waker>), Mutex::new(None)]);
        let tasks = [0, 1].map(|me: usize| {
            let (turn, wakers) = (Arc::clone(&turn), Arc::clone(&wakers));
            threads[me].context().spawn(async move {
                loop {
                    let now = poll_fn(|cx| {
                        *wakers[me].lock().unwrap() = Some(cx.waker().clone());
                        let now = turn.load(Ordering::SeqCst);
                        if now >= TURNS || now % 2 == me as u64 {
                            Poll::Ready(now)
                        } else {
                            Poll::Pending
                        }
                    })
                    .await;
                    turn.store(now + 1, Ordering::SeqCst);
                    let other = wakers[1 - me].lock().unwrap().take();
                    if let Some(other) = other {
                        other.wake();
                    }
                    if now >= TURNS {
                        return;
                    }
                }
            })
        });
        let main = EventLoop::new("main").unwrap();
        main.block_on(async {
            for task in tasks {
                task.await;
            }
        });
    });
}

/// The same with bottom halves, several in flight, so that the bell rings while the loop is busy,
/// about to sleep, and asleep.
#[test]
fn bottom_halves_from_many_threads_all_run() {
    with_each_option(|options| {
        let target = ContextThread::with_options("target", options).unwrap();
        let count = Arc::new(AtomicU32::new(0));
        let senders: Vec<_> = (0..4)
            .map(|_| {
                let (context, count) = (target.context().clone(), Arc::clone(&count));
                thread::spawn(move || {
                    for round in 0..5000 {
                        let count = Arc::clone(&count);
                        context.schedule(move |_| {
                            count.fetch_add(1, Ordering::Relaxed);
                        });
                        if round % 64 == 0 {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.join().unwrap();
        }
        // No stop, which would wake the loop: the last bottom half has to get through by itself.
        while count.load(Ordering::Relaxed) < 20_000 {
            thread::yield_now();
        }
    });
}

#[test]
fn a_parked_task_resumes_in_the_home_of_that_moment() {
    let first = ContextThread::spawn("first").unwrap();
    let second = ContextThread::spawn("second").unwrap();
    let home = Arc::new(Home::new(first.context().clone()));
    let gate = Gate::default();
    let inner = gate.clone();
    let task = home.spawn(async move {
        let before = current();
        inner.wait().await;
        (before, current())
    });
    while gate.waiters() == 0 {
        thread::yield_now();
    }
    home.set(second.context().clone());
    assert!(home.is(second.context()) && home.context() == *second.context());
    gate.open();
    let main = EventLoop::new("main").unwrap();
    let contexts = main.block_on(task);
    assert_eq!(
        contexts,
        (first.context().clone(), second.context().clone())
    );
}

#[test]
fn a_wake_up_that_raced_with_the_move_is_passed_on() {
    let first = EventLoop::new("first").unwrap();
    let second = EventLoop::new("second").unwrap();
    let home = Arc::new(Home::new(first.context().clone()));
    let task = home.spawn(async { current() });
    // The task is in the first loop's queue already.
    home.set(second.context().clone());
    first.poll(Wait::No);
    assert!(!task.is_finished());
    assert!(second.poll(Wait::Until(None)));
    assert_eq!(second.block_on(task), *second.context());
}

#[test]
fn a_parked_task_outlives_the_loop_its_home_has_left() {
    let first = EventLoop::new("first").unwrap();
    let second = EventLoop::new("second").unwrap();
    let home = Arc::new(Home::new(first.context().clone()));
    let task = home.spawn(async {
        // The timer sits in the first loop; ending that loop must not lose the wake-up.
        sleep(Duration::from_millis(5)).await;
        current()
    });
    first.poll(Wait::No);
    home.set(second.context().clone());
    drop(first);
    assert_eq!(second.block_on(task), *second.context());
}

/// Tasks hop between five threads by moving their home.
#[test]
fn tasks_hop_between_threads() {
    with_each_option(|options| {
        let threads: Vec<_> = (0..5)
            .map(|index| ContextThread::with_options(&format!("io{index}"), options).unwrap())
            .collect();
        let contexts: Arc<Vec<_>> = Arc::new(threads.iter().map(|t| t.context().clone()).collect());
        let running = Arc::new(AtomicU32::new(0));
        let tasks: Vec<_> = (0..10u64)
            .map(|seed| {
                let home = Arc::new(Home::new(contexts[seed as usize % 5].clone()));
                let (contexts, running) = (Arc::clone(&contexts), Arc::clone(&running));
                let inner = Arc::clone(&home);
                home.spawn(async move {
                    let home = inner;
                    let busy = AtomicBool::new(false);
                    let mut random = seed + 1;
                    running.fetch_add(1, Ordering::SeqCst);
                    for _ in 0..2000 {
                        random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
                        let next = &contexts[(random >> 33) as usize % 5];
                        home.set(next.clone());
                        yield_now().await;
                        assert!(!busy.swap(true, Ordering::SeqCst), "scheduled twice");
                        assert!(next.is_current(), "resumed in the new home");
                        busy.store(false, Ordering::SeqCst);
                    }
                    running.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        let main = EventLoop::new("main").unwrap();
        main.block_on(async {
            for task in tasks {
                task.await;
            }
        });
        assert_eq!(running.load(Ordering::SeqCst), 0);
    });
}

/// Somebody else moves the home all the time while the task is woken all the time.
#[test]
fn a_home_that_moves_all_the_time_loses_no_wake_up() {
    let threads = ["a", "b"].map(|name| ContextThread::spawn(name).unwrap());
    let home = Arc::new(Home::new(threads[0].context().clone()));
    let task = home.spawn(async {
        for round in 0..20_000 {
            if round % 1000 == 0 {
                sleep(Duration::from_micros(50)).await;
            }
            let woken = Gate::default();
            let helper = woken.clone();
            drop(current().spawn(async move { helper.open() }));
            woken.wait().await;
        }
    });
    let mut turn = 0;
    while !task.is_finished() {
        turn += 1;
        home.set(threads[turn % 2].context().clone());
        thread::yield_now();
    }
    assert!(turn > 1);
}

#[test]
fn blocking_work_runs_elsewhere_and_comes_back() {
    let event_loop = EventLoop::new("main").unwrap();
    let here = thread::current().id();
    let there = event_loop.block_on(run_blocking(|| thread::current().id()));
    assert_ne!(here, there);

    let together: Vec<_> = (0..200).map(|n| run_blocking(move || n * 2)).collect();
    let results = event_loop.block_on(async {
        let mut results = Vec::new();
        for work in together {
            results.push(work.await);
        }
        results
    });
    assert_eq!(results, (0..200).map(|n| n * 2).collect::<Vec<_>>());
}

#[test]
fn blocking_work_that_waits_for_other_work_gets_a_thread_of_its_own() {
    let (sender, receiver) = mpsc::channel();
    let first = run_blocking(move || receiver.recv().unwrap());
    let second = run_blocking(move || sender.send(5).unwrap());
    let event_loop = EventLoop::new("main").unwrap();
    assert_eq!(event_loop.block_on(first), 5);
    event_loop.block_on(second);
}

#[test]
fn a_panic_of_blocking_work_reaches_who_awaits_it() {
    let event_loop = EventLoop::new("main").unwrap();
    let work = run_blocking(|| panic!("work"));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        event_loop.block_on(work);
    }));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"work"));
}

#[test]
fn dropped_blocking_work_keeps_what_it_owns_until_it_ends() {
    let token = Arc::new(());
    let held = Arc::clone(&token);
    let (begin, begun) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let work = run_blocking(move || {
        begin.send(()).unwrap();
        let _ = ended.recv();
        held
    });
    begun.recv().unwrap();
    drop(work);
    assert_eq!(Arc::strong_count(&token), 2);
    end.send(()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while Arc::strong_count(&token) > 1 && Instant::now() < deadline {
        thread::yield_now();
    }
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn blocking_work_needs_no_loop() {
    // Any executor will do; this one spins.
    let mut work = pin!(run_blocking(|| 3));
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(result) = work.as_mut().poll(&mut cx) {
            assert_eq!(result, 3);
            return;
        }
        thread::yield_now();
    }
}
