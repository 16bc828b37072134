//! A task begins requests while its home moves to another event loop.
//!
//! Event loops, tasks, wake-ups, the home and the root as they ship; loops
//! sleep on a signal in the place of the `eventfd`. `Root::begin`, and being
//! woken between two requests, against a section in the main thread and in it
//! `moving::move_home`: `Root::set_context` and `AioContext::turned`.
//!
//! Two threads with a loop each, and one for the event. Every turn of a loop
//! takes a dozen steps, so there is a bound: without one, two threads take more
//! than two minutes. Two preemptions find all mutants; four for two threads and
//! three for three leave some to spare.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use block_io::Root;
use block_io::aio::{AioContext, Wait};
use loom_tests::{Bound, Faults, RealLoop, models, move_root, spawn};

models! {
    "H9" requests_in_a_row_go_on_in_the_new_home:
        Bound::Preemptions(4), more than 5000 executions, killing {
            MoveWithoutATurn => Panic("a request began in the old home after the move"),
        }
    "H9" a_task_that_waits_goes_on_in_the_new_home:
        Bound::Preemptions(3), more than 7000 executions, killing {
            TurnBeforeTheMove => Panic("a request began in the old home after the move"),
            MoveWithoutATurn => Panic("a request began in the old home after the move"),
        }
}

/// Two requests in one turn of the task, unless it has to wait.
fn requests_in_a_row_go_on_in_the_new_home<F: Faults>() {
    a_task_moves::<F>(None);
}

/// Between its requests the task waits for another thread.
fn a_task_that_waits_goes_on_in_the_new_home<F: Faults>() {
    let event = Event::default();
    let happening = spawn({
        let event = event.clone();
        move || event.happen()
    });
    a_task_moves::<F>(Some(event));
    happening.join().expect("no panic");
}

/// Something that happens once.
#[derive(Clone, Default)]
struct Event(Arc<Mutex<(bool, Option<Waker>)>>);

impl Event {
    fn happen(&self) {
        let mut state = self.0.lock().expect("not poisoned");
        state.0 = true;
        let waiting = state.1.take();
        drop(state);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    async fn wait(&self) {
        poll_fn(|cx| {
            let mut state = self.0.lock().expect("not poisoned");
            state.1 = Some(cx.waker().clone());
            if state.0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

fn a_task_moves<F: Faults>(between: Option<Event>) {
    let (main, old) = (RealLoop::new("main"), RealLoop::new("old"));
    let left = old.context().clone();
    let root = Root::new("root", left.clone());
    // What is asserted, not what is checked: plain flags, which change in the
    // order of execution.
    let [moved, late, stop] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
    let iothread = spawn({
        let stop = Arc::clone(&stop);
        move || {
            while !stop.load(Ordering::Relaxed) {
                old.poll(Wait::Until(None));
            }
        }
    });
    let task = root.spawn({
        let (root, left) = (root.clone(), left.clone());
        let (moved, late) = (Arc::clone(&moved), Arc::clone(&late));
        async move {
            for _ in 0..2 {
                let in_flight = root.begin().await;
                let here = AioContext::current().expect("a task runs on a loop");
                late.fetch_or(
                    moved.load(Ordering::Relaxed) && here == left,
                    Ordering::Relaxed,
                );
                drop(in_flight);
                if let Some(event) = &between {
                    event.wait().await;
                }
            }
        }
    });
    move_root::<F>(&main, &root, || moved.store(true, Ordering::Relaxed));
    main.block_on(task);
    left.schedule(move |_| stop.store(true, Ordering::Relaxed));
    iothread.join().expect("no panic");
    assert!(
        !late.load(Ordering::Relaxed),
        "a request began in the old home after the move"
    );
}
