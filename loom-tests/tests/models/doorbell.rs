//! Handing work to an event loop races its going to sleep.
//!
//! `Sleeper::announce` (publish, `Doorbell::ring`) and `Sleeper::kick` against
//! `Sleeper::unless_busy`: a look at the queue, `Doorbell::prepare_sleep`, the
//! sleep, `Doorbell::awake` (`aio_notify` and `aio_poll`).
//!
//! A work item is a relaxed flag: nothing but the bell makes the loop see it.
//! Two threads are explored to the end. Three take more than a minute without
//! a bound; one preemption finds all mutants, three leave two to spare.

use std::sync::Arc;

use block_common::sync::{AtomicBool, Ordering};
use loom_tests::{Bound, EventLoop, Faults, models, spawn};

models! {
    "H8" scheduling_wakes_a_loop_that_goes_to_sleep:
        Bound::Exhaustive, more than 20 executions, killing {
            SleepWithoutLooking => Deadlock,
            RingInTwoSteps => Deadlock,
            RingWithoutRelease => Deadlock,
            HearWithoutAcquire => Deadlock,
            RingBeforeQueueing => Deadlock,
            HearWithoutLooking => Deadlock,
        } blind to {
            SleepByWeakExchange => "`compare_exchange_weak` of loom never fails for no reason; \
                                    nor does that of x86. `complete.rs` allows none in the engine",
        }
    "H8" a_second_item_wakes_it_again:
        Bound::Exhaustive, more than 2000 executions, killing {
            SleepWithoutLooking => Deadlock,
            RingInTwoSteps => Deadlock,
            RingOnlyOnce => Deadlock,
        }
    "H8" no_item_of_two_threads_is_lost:
        Bound::Preemptions(3), more than 2000 executions, killing {
            SleepWithoutLooking => Deadlock,
            RingInTwoSteps => Deadlock,
            RingOnlyOnce => Deadlock,
            RingWithoutRelease => Deadlock,
            HearWithoutAcquire => Deadlock,
        }
    "H8" a_kick_and_an_item_are_both_noticed:
        Bound::Preemptions(3), more than 4000 executions, killing {
            SleepWithoutLooking => Deadlock,
            RingInTwoSteps => Deadlock,
            RingOnlyOnce => Deadlock,
            HearWithoutAcquire => Deadlock,
            RingBeforeQueueing => Deadlock,
        }
}

/// One item.
fn scheduling_wakes_a_loop_that_goes_to_sleep<F: Faults>() {
    let queue = Queue::<F>::new();
    let scheduling = spawn({
        let queue = Arc::clone(&queue);
        move || queue.schedule(0)
    });
    queue.run(1);
    scheduling.join().expect("no panic");
}

/// Two items of one thread, in a row.
fn a_second_item_wakes_it_again<F: Faults>() {
    let queue = Queue::<F>::new();
    let scheduling = spawn({
        let queue = Arc::clone(&queue);
        move || {
            queue.schedule(0);
            queue.schedule(1);
        }
    });
    queue.run(2);
    scheduling.join().expect("no panic");
}

/// An item each of two threads. The second to ring finds the bell rung and
/// makes no system call; the loop has to see its item all the same.
fn no_item_of_two_threads_is_lost<F: Faults>() {
    let queue = Queue::<F>::new();
    let scheduling = [0, 1].map(|item| {
        let queue = Arc::clone(&queue);
        spawn(move || queue.schedule(item))
    });
    queue.run(2);
    for scheduling in scheduling {
        scheduling.join().expect("no panic");
    }
}

/// One thread schedules, another makes a condition true and kicks.
fn a_kick_and_an_item_are_both_noticed<F: Faults>() {
    let queue = Queue::<F>::new();
    let condition = Arc::new(AtomicBool::new(false));
    let kicking = spawn({
        let (queue, condition) = (Arc::clone(&queue), Arc::clone(&condition));
        move || {
            condition.store(true, Ordering::Relaxed);
            queue.event_loop.kick();
        }
    });
    let scheduling = spawn({
        let queue = Arc::clone(&queue);
        move || queue.schedule(0)
    });
    let mut done = 0;
    while !condition.load(Ordering::Relaxed) || done < 1 {
        done += queue.poll();
    }
    kicking.join().expect("no panic");
    scheduling.join().expect("no panic");
}

/// What other threads have scheduled to a loop.
struct Queue<F: Faults> {
    event_loop: Arc<EventLoop<F>>,
    items: [AtomicBool; 2],
}

impl<F: Faults> Queue<F> {
    fn new() -> Arc<Self> {
        Arc::new(Queue {
            event_loop: EventLoop::new(),
            items: [(); 2].map(|()| AtomicBool::new(false)),
        })
    }

    fn schedule(&self, item: usize) {
        let publish = || self.items[item].store(true, Ordering::Relaxed);
        self.event_loop.announce(publish);
    }

    /// One turn of the loop; returns how many items it has run.
    fn poll(&self) -> usize {
        let has_work = || self.items.iter().any(|item| item.load(Ordering::Relaxed));
        self.event_loop.poll(has_work);
        let run = self.items.iter().filter(|item| {
            // A load before the exchange, so that only the bell decides what
            // the loop sees.
            item.load(Ordering::Relaxed) && item.swap(false, Ordering::Relaxed)
        });
        run.count()
    }

    /// Turns until `items` have been run. Hangs when one was lost.
    fn run(&self, items: usize) {
        let mut done = 0;
        while done < items {
            done += self.poll();
        }
    }
}
