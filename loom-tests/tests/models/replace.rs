//! Requests race the replacement of the child below their root.
//!
//! `Gate::begin` and `GatedCell::get` against `GatedCell::replace`, which
//! opens the gate or hands the reason over to a quiesced child.
//!
//! Two threads, explored to the end.

use std::sync::Arc;

use block_common::sync::{AtomicBool, Ordering};
use loom_tests::{Bound, Faults, Root, models, spawn};

models! {
    "H5" a_quiesced_child_is_not_seen:
        Bound::Exhaustive, more than 500 executions, killing {
            VisibleBeforeQuiesced => Panic("a request saw a child that is drained"),
            TestThenCount => Race,
        }
    "H5" a_child_that_is_not_quiesced_opens_the_root:
        Bound::Exhaustive, more than 1000 executions, killing {
            ParkWithoutRetest => Deadlock,
            OpenWithoutRelease => Race,
        }
    "H6" requests_see_the_old_child_or_the_new:
        Bound::Exhaustive, more than 10000 executions, killing {
            TestThenCount => Race,
            EndWithoutRelease => Race,
            LookWithoutAcquire => Race,
            OpenWithoutRelease => Race,
            BeginWithoutAcquire => Race,
        }
}

/// Child 1 is in a drained section of its own when it is attached. Until
/// that section ends no request may reach it.
fn a_quiesced_child_is_not_seen<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    let child_is_drained = Arc::new(AtomicBool::new(true));
    let request = spawn({
        let (root, child_is_drained) = (Arc::clone(&root), Arc::clone(&child_is_drained));
        move || {
            let count = root.begin(0);
            if root.child(&count) == 1 {
                assert!(
                    !child_is_drained.load(Ordering::Relaxed),
                    "a request saw a child that is drained"
                );
            }
            root.gate().end(count);
        }
    });
    root.drain();
    root.replace(1, true);
    assert_eq!(
        root.gate().depth(),
        1,
        "the child's section keeps it closed"
    );
    child_is_drained.store(false, Ordering::Relaxed);
    root.gate().open();
    request.join().expect("no panic");
    assert!(root.gate().is_idle(), "the request has ended");
}

/// Nothing but the attaching itself kept requests out: they run afterwards.
fn a_child_that_is_not_quiesced_opens_the_root<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    let request = spawn({
        let root = Arc::clone(&root);
        move || root.request(0)
    });
    root.drain();
    root.replace(1, false);
    assert!(!root.gate().is_closed());
    request.join().expect("no panic");
    assert!(root.gate().is_idle(), "the request has ended");
}

/// Two requests of one thread, one replacement. Each sees a child, the second
/// no older one than the first.
fn requests_see_the_old_child_or_the_new<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    let requests = spawn({
        let root = Arc::clone(&root);
        move || {
            let first = root.request(0);
            let second = root.request(0);
            assert!(first <= second && second <= 1, "an older child came back");
        }
    });
    root.drain();
    assert_eq!(root.replace(1, false), 0);
    requests.join().expect("no panic");
    assert_eq!(root.request(0), 1);
}
