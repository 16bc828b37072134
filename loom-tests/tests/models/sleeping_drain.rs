//! The last request's end races the main loop on its way to sleep.
//!
//! `Gate::end` and the waker that it calls (`Sleeper::kick`: flag, bell, system
//! call) against `Gate::poll_idle` and `Sleeper::unless_busy` with the sleep
//! itself.
//!
//! Two threads are explored to the end. Three take minutes to hours without a
//! bound; one preemption finds all mutants, three leave two to spare.

use std::sync::Arc;

use loom_tests::{Bound, EventLoop, Faults, Gate, Root, models, spawn};

models! {
    "H7" the_last_end_wakes_the_main_loop:
        Bound::Exhaustive, more than 400 executions, killing {
            NoKickAtZero => Deadlock,
            ClosedAfterTheWait => Deadlock,
            LookThenRegister => Deadlock,
            SleepWithoutLooking => Deadlock,
            HearWithoutLooking => Deadlock,
            RingBeforeQueueing => Deadlock,
            RingInTwoSteps => Deadlock,
            RingWithoutRelease => Deadlock,
            HearWithoutAcquire => Deadlock,
            EndWithoutRelease => Race,
            LookWithoutAcquire => Race,
        }
    "H7" either_of_two_requests_may_be_the_last:
        Bound::Preemptions(3), more than 6000 executions, killing {
            NoKickAtZero => Deadlock,
            LookThenRegister => Deadlock,
            SleepWithoutLooking => Deadlock,
        }
    "H7" a_drain_of_two_roots_waits_for_both:
        Bound::Preemptions(3), more than 10000 executions, killing {
            NoKickAtZero => Deadlock,
            LookThenRegister => Deadlock,
            RingInTwoSteps => Deadlock,
        }
    "H7" two_waiting_drains_are_both_woken:
        Bound::Preemptions(3), more than 1000 executions, killing {
            WakeOneDrain => Deadlock,
            NoKickAtZero => Deadlock,
        }
    "H7" a_request_of_the_sections_owner_is_waited_for:
        Bound::Exhaustive, more than 500 executions, killing {
            NoKickAtZero => Deadlock,
            EndWithoutRelease => Race,
        }
}

/// A request that runs already ends in another thread, while the main loop
/// drains and falls asleep.
fn the_last_end_wakes_the_main_loop<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    let running = root.begin(0);
    let ending = spawn({
        let root = Arc::clone(&root);
        move || {
            root.child(&running);
            root.gate().end(running);
        }
    });
    let main_loop = EventLoop::<F>::new();
    root.gate().close();
    main_loop.wait_until_idle(&[root.gate()]);
    root.replace(1, false);
    ending.join().expect("no panic");
}

/// Two requests end in two threads and two shards.
fn either_of_two_requests_may_be_the_last<F: Faults>() {
    let root = Arc::new(Root::<F>::new(2));
    let ending = [0, 1].map(|shard| {
        let running = root.begin(shard);
        let root = Arc::clone(&root);
        spawn(move || {
            root.child(&running);
            root.gate().end(running);
        })
    });
    let main_loop = EventLoop::<F>::new();
    root.gate().close();
    main_loop.wait_until_idle(&[root.gate()]);
    root.replace(1, false);
    for ending in ending {
        ending.join().expect("no panic");
    }
}

/// One section covers two roots, each with a request in a thread of its own.
fn a_drain_of_two_roots_waits_for_both<F: Faults>() {
    let roots = [(); 2].map(|()| Arc::new(Root::<F>::new(1)));
    let ending = roots.each_ref().map(|root| {
        let running = root.begin(0);
        let root = Arc::clone(root);
        spawn(move || {
            root.child(&running);
            root.gate().end(running);
        })
    });
    let main_loop = EventLoop::<F>::new();
    for root in &roots {
        root.gate().close();
    }
    main_loop.wait_until_idle(&roots.each_ref().map(|root| root.gate()));
    for root in &roots {
        root.replace(1, false);
    }
    for ending in ending {
        ending.join().expect("no panic");
    }
}

/// Two threads wait for the same gate, with a waker each.
fn two_waiting_drains_are_both_woken<F: Faults>() {
    let gate = Arc::new(Gate::<F>::new(1));
    gate.close();
    let running = gate.begin_as_owner(0);
    let waiting = spawn({
        let gate = Arc::clone(&gate);
        move || EventLoop::<F>::new().wait_until_idle(&[&gate])
    });
    let ending = spawn({
        let gate = Arc::clone(&gate);
        move || gate.end(running)
    });
    EventLoop::<F>::new().wait_until_idle(&[&gate]);
    waiting.join().expect("no panic");
    ending.join().expect("no panic");
    assert!(gate.is_idle());
}

/// The owner of a section begins a request inside it, which ends in another
/// thread. A section opened within waits for it like for any other.
fn a_request_of_the_sections_owner_is_waited_for<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    root.drain();
    root.replace(1, true);
    let own = root.gate().begin_as_owner(0);
    let ending = spawn({
        let root = Arc::clone(&root);
        move || {
            assert_eq!(root.child(&own), 1);
            root.gate().end(own);
        }
    });
    let main_loop = EventLoop::<F>::new();
    root.gate().close();
    main_loop.wait_until_idle(&[root.gate()]);
    root.replace(2, false);
    root.gate().open();
    ending.join().expect("no panic");
    assert!(!root.gate().is_closed());
}
