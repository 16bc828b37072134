//! Cancelling a parked request races its admission.
//!
//! Dropping `Begin` (`Gate::give_up`) against `Gate::open`, and against a
//! drain that begins at once and counts on zero.
//!
//! Two threads are explored to the end. Three take more than a minute without
//! a bound; two preemptions find all mutants, three leave one to spare.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread;

use loom_tests::{Bound, Faults, Root, cancel_after, models, spawn};

models! {
    "H11" a_cancelled_request_is_not_counted:
        Bound::Exhaustive, more than 1000 executions, killing {
            CancelForgetsCount => Panic("a cancelled request is still counted"),
            NoKickAtZero => Deadlock,
            LookThenRegister => Deadlock,
        }
    "H11" cancelling_one_request_leaves_the_other:
        Bound::Preemptions(3), more than 3000 executions, killing {
            CancelForgetsCount => Panic("a cancelled request is still counted"),
            ParkWithoutRetest => Deadlock,
        }
    "H11" a_waker_may_use_the_gate_when_it_goes:
        Bound::Exhaustive, more than 50 executions, killing {
            WakerDroppedUnderLock => Deadlock,
        }
    "H2" a_waker_may_use_the_gate_when_it_is_called:
        Bound::Exhaustive, more than 20 executions, killing {
            WakeUnderLock => Deadlock,
        }
}

/// The request is dropped before, while or after it is admitted. The second
/// section finds zero, at once or when the admitted one has been given up.
fn a_cancelled_request_is_not_counted<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    root.gate().close();
    let cancelled = spawn({
        let root = Arc::clone(&root);
        move || {
            if let Some(count) = cancel_after(root.gate().begin(0), [Waker::noop().clone()]) {
                root.gate().end(count);
            }
        }
    });
    root.gate().open();
    root.drain();
    root.replace(1, true);
    root.gate().open();
    cancelled.join().expect("no panic");
    assert!(
        root.gate().is_idle(),
        "a cancelled request is still counted"
    );
}

/// Two requests park; one is dropped, the other has to run.
fn cancelling_one_request_leaves_the_other<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    root.gate().close();
    let cancelled = spawn({
        let root = Arc::clone(&root);
        move || {
            if let Some(count) = cancel_after(root.gate().begin(0), [Waker::noop().clone()]) {
                root.gate().end(count);
            }
        }
    });
    let request = spawn({
        let root = Arc::clone(&root);
        move || root.request(0)
    });
    root.gate().open();
    root.drain();
    root.replace(1, true);
    root.gate().open();
    cancelled.join().expect("no panic");
    request.join().expect("no panic");
    assert!(
        root.gate().is_idle(),
        "a cancelled request is still counted"
    );
}

/// A parked request moves from one task to another and is cancelled there.
/// The gate's waker is the last thing that holds a task, and the destructor
/// of the task uses the gate.
fn a_waker_may_use_the_gate_when_it_goes<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    root.gate().close();
    let opening = spawn({
        let root = Arc::clone(&root);
        move || root.gate().open()
    });
    let wakers = (0..2).map(|_| Waker::from(Arc::new(LastOfItsTask(Arc::clone(&root)))));
    if let Some(count) = cancel_after(root.gate().begin(0), wakers) {
        root.gate().end(count);
    }
    opening.join().expect("no panic");
    assert!(
        root.gate().is_idle(),
        "a cancelled request is still counted"
    );
}

/// The waker of a parked request uses the gate that wakes it.
fn a_waker_may_use_the_gate_when_it_is_called<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    root.gate().close();
    let opening = spawn({
        let root = Arc::clone(&root);
        move || root.gate().open()
    });
    let waker = Waker::from(Arc::new(UsesTheGate(Arc::clone(&root))));
    if let Some(count) = cancel_after(root.gate().begin(0), [waker]) {
        root.gate().end(count);
    }
    opening.join().expect("no panic");
    assert!(
        root.gate().is_idle(),
        "a cancelled request is still counted"
    );
}

struct UsesTheGate<F: Faults>(Arc<Root<F>>);

impl<F: Faults> Wake for UsesTheGate<F> {
    fn wake(self: Arc<Self>) {
        self.0.gate().depth();
    }
}

struct LastOfItsTask<F: Faults>(Arc<Root<F>>);

impl<F: Faults> Wake for LastOfItsTask<F> {
    fn wake(self: Arc<Self>) {}
}

impl<F: Faults> Drop for LastOfItsTask<F> {
    fn drop(&mut self) {
        // Loom cannot be used while its report of a failure unwinds.
        if !thread::panicking() {
            self.0.gate().depth();
        }
    }
}
