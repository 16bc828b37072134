//! The harness notices what it is there to notice.
//!
//! Two threads that meet at one atomic, or at none; a lost wake-up of the
//! executor's own signal would be a deadlock in every other model.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use block_common::sync::{AtomicBool, AtomicU32, Ordering};
use loom_tests::{Bound, Failure, block_on, model, must_fail, spawn};

fn two_threads_meet() {
    let number = Arc::new(AtomicU32::new(0));
    let other = spawn({
        let number = Arc::clone(&number);
        move || number.fetch_add(1, Ordering::Relaxed)
    });
    number.fetch_add(1, Ordering::Relaxed);
    other.join().expect("no panic");
    assert_eq!(number.load(Ordering::Relaxed), 2);
}

fn two_threads_pass_by() {
    spawn(|| ()).join().expect("no panic");
}

fn the_second_thread_is_first() {
    let number = Arc::new(AtomicU32::new(0));
    let other = spawn({
        let number = Arc::clone(&number);
        move || number.store(1, Ordering::Relaxed)
    });
    assert_eq!(number.load(Ordering::Relaxed), 0, "it was first");
    other.join().expect("no panic");
}

/// Waits for a flag without telling anybody.
fn nobody_wakes() {
    let flag = Arc::new(AtomicBool::new(false));
    let other = spawn({
        let flag = Arc::clone(&flag);
        move || flag.store(true, Ordering::Release)
    });
    block_on(poll_fn(|_| {
        if flag.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        Poll::Pending
    }));
    other.join().expect("no panic");
}

#[test]
fn every_order_of_two_additions_is_seen() {
    let explored = model("meet", Bound::Exhaustive, 1, two_threads_meet);
    assert_eq!(explored.threads, 2);
}

#[test]
#[should_panic(expected = "pass by: 1 executions, more than 1 were expected")]
fn a_model_without_a_race_is_refused() {
    model("pass by", Bound::Exhaustive, 1, two_threads_pass_by);
}

#[test]
#[should_panic(expected = "it was first")]
fn a_model_that_fails_in_one_order_fails() {
    model("order", Bound::Exhaustive, 1, the_second_thread_is_first);
}

#[test]
#[should_panic(expected = "meet: survived")]
fn a_mutant_that_survives_is_reported() {
    must_fail("meet", Bound::Exhaustive, Failure::Race, two_threads_meet);
}

#[test]
#[should_panic(expected = "but with 'assertion `left == right` failed: it was first")]
fn a_mutant_that_fails_for_another_reason_is_reported() {
    let body = the_second_thread_is_first;
    must_fail("order", Bound::Exhaustive, Failure::Deadlock, body);
}

#[test]
fn a_wake_up_that_never_comes_is_a_deadlock() {
    must_fail("nobody", Bound::Exhaustive, Failure::Deadlock, nobody_wakes);
}
