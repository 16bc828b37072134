//! Parking races the ends of sections that follow or overlap each other.
//!
//! `Gate::begin` against sequences of `Gate::close`, `Gate::poll_idle` and
//! `Gate::open`, in one thread as in the block layer, where only the main
//! thread drains, and in two, because the gate does not ask for less.
//!
//! Two threads are explored to the end, and the three of the request that
//! changes hands. The others with three take minutes to hours without a bound;
//! two preemptions find all mutants, three leave one to spare. The section that
//! is given up takes half a minute without a bound, and fewer preemptions do.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use loom_tests::{Bound, Faults, Root, block_on, models, spawn};

models! {
    "H2" parked_requests_run_after_the_section:
        Bound::Preemptions(3), more than 500 executions, killing {
            ParkWithoutRetest => Deadlock,
        }
    "H2" the_end_of_an_inner_section_admits_nobody:
        Bound::Exhaustive, more than 500 executions, killing {
            DepthIsAFlag => Race,
            TestThenCount => Race,
        }
    "H2" the_last_of_two_nested_sections_opens:
        Bound::Exhaustive, more than 3000 executions, killing {
            ParkWithoutRetest => Deadlock,
            TestThenCount => Race,
        }
    "H2" two_drainers_overlap:
        Bound::Preemptions(3), more than 1000 executions, killing {
            DepthIsAFlag => Panic("a gate is opened as often as it is closed"),
            ParkWithoutRetest => Deadlock,
        }
    "H2" a_section_that_is_given_up_admits_everybody:
        Bound::Preemptions(4), more than 1000 executions, killing {
            ParkWithoutRetest => Deadlock,
            TestThenCount => Race,
            NoKickAtZero => Deadlock,
            EndWithoutRelease => Race,
        }
    "H3" the_next_section_sees_a_woken_request:
        Bound::Exhaustive, more than 2000 executions, killing {
            WokenCountsItself => Race,
            TestThenCount => Race,
            NoKickAtZero => Deadlock,
        }
    "H3" a_request_handed_to_another_thread_stays_counted:
        Bound::Exhaustive, more than 10000 executions, killing {
            EndWithoutRelease => Race,
            LookWithoutAcquire => Race,
            WokenCountsItself => Race,
        }
}

/// The gate is closed from the start; two requests arrive before, while or
/// after it opens. Both run.
fn parked_requests_run_after_the_section<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    root.gate().close();
    let requests = [0, 0].map(|shard| {
        let root = Arc::clone(&root);
        spawn(move || root.request(shard))
    });
    root.replace(1, true);
    root.gate().open();
    for request in requests {
        assert_eq!(request.join().expect("no panic"), 1, "it ran too early");
    }
    assert!(root.gate().is_idle(), "both have ended");
}

/// A section that looks once, writes if nothing is in flight, and is over then;
/// another one waits (`Node::try_drain` and `Node::drain`). The request may
/// run, park or end in each of them.
fn a_section_that_is_given_up_admits_everybody<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    let request = spawn({
        let root = Arc::clone(&root);
        move || root.request(0)
    });
    root.gate().close();
    let look = poll_fn(|cx| Poll::Ready(root.gate().poll_idle(cx).is_ready()));
    if block_on(look) {
        root.replace(1, true);
    }
    root.gate().open();
    root.drain();
    root.replace(2, true);
    root.gate().open();
    let child = request.join().expect("no panic");
    assert!(child <= 2);
    assert!(root.gate().is_idle(), "the request has ended");
}

/// A section within a section. A request may begin before the outer one, but
/// not between the two ends.
fn the_end_of_an_inner_section_admits_nobody<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    let trying = spawn({
        let root = Arc::clone(&root);
        move || {
            if let Some(count) = root.gate().try_begin(0) {
                root.child(&count);
                root.gate().end(count);
            }
        }
    });
    root.drain();
    root.drain();
    root.gate().open();
    root.replace(1, true);
    trying.join().expect("no panic");
    root.gate().open();
    assert!(root.gate().is_idle(), "what was turned away is not counted");
}

/// A section within a section. The request waits for both ends.
fn the_last_of_two_nested_sections_opens<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    let request = spawn({
        let root = Arc::clone(&root);
        move || root.request(0)
    });
    root.drain();
    root.drain();
    root.gate().open();
    root.replace(1, true);
    root.gate().open();
    request.join().expect("no panic");
    assert!(root.gate().is_idle(), "the request has ended");
}

/// Sections of two threads overlap in every way, around one request.
fn two_drainers_overlap<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    let other_drainer = spawn({
        let root = Arc::clone(&root);
        move || {
            root.drain();
            root.gate().open();
        }
    });
    let request = spawn({
        let root = Arc::clone(&root);
        move || root.request(0)
    });
    root.drain();
    root.replace(1, true);
    root.gate().open();
    other_drainer.join().expect("no panic");
    request.join().expect("no panic");
    assert!(root.gate().is_idle(), "the request has ended");
    assert_eq!(root.gate().depth(), 0);
}

/// The end of one section wakes a request, the next section begins at once.
/// It must wait for the request even when that has not got to run yet.
fn the_next_section_sees_a_woken_request<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    root.gate().close();
    let request = spawn({
        let root = Arc::clone(&root);
        move || root.request(0)
    });
    root.replace(1, true);
    root.gate().open();
    root.drain();
    root.replace(2, true);
    root.gate().open();
    let child = request.join().expect("no panic");
    assert!(child == 1 || child == 2);
    assert!(root.gate().is_idle(), "the request has ended");
}

/// One thread begins the request, perhaps after parking; another looks at the
/// child and ends it.
fn a_request_handed_to_another_thread_stays_counted<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    root.gate().close();
    let beginning = spawn({
        let root = Arc::clone(&root);
        move || {
            let count = root.begin(0);
            spawn(move || {
                root.child(&count);
                root.gate().end(count);
            })
        }
    });
    root.gate().open();
    root.drain();
    root.replace(1, true);
    root.gate().open();
    let ending = beginning.join().expect("no panic");
    ending.join().expect("no panic");
    assert!(root.gate().is_idle(), "the request has ended");
}
