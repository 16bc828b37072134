//! Requests of one node that overlap.
//!
//! Entering, leaving, giving up and lingering of `Overlaps` race each other;
//! a tracked cell stands for the bytes that only one of them may touch.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread;

use loom_tests::{Bound, Bytes, Faults, Overlaps, block_on, cancel_after, models, spawn};

models! {
    "H14" overlapping_requests_take_turns:
        Bound::Preemptions(3), more than 500 executions, killing {
            LeaveWakesNobody => Deadlock,
            WaitersAreOvertaken => WriteRace,
        }
    "H14" one_that_gives_up_is_in_nobodys_way:
        Bound::Exhaustive, more than 50 executions, killing {
            GivingUpStays => Panic("somebody is still in the way"),
            LeaveWakesNobody => Deadlock,
        }
    "H14" what_lingers_is_waited_for:
        Bound::Exhaustive, more than 10 executions, killing {
            LingeringUnseen => WriteRace,
        }
    "H14" what_lingers_is_waited_for_by_who_waited_for_its_request:
        Bound::Exhaustive, more than 30 executions, killing {
            LingeringOvertaken => WriteRace,
        }
    "H14" a_waker_may_use_the_node_when_it_goes:
        Bound::Exhaustive, more than 50 executions, killing {
            ReplacedUnderLock => Deadlock,
        }
}

struct Node<F: Faults> {
    overlaps: Overlaps<F>,
    bytes: Bytes,
}

impl<F: Faults> Node<F> {
    fn new() -> Arc<Self> {
        Arc::new(Node {
            overlaps: Overlaps::new(),
            bytes: Bytes::default(),
        })
    }
}

/// Three padded writes to one block: none is lost.
fn overlapping_requests_take_turns<F: Faults>() {
    let node = Node::<F>::new();
    let write = |node: &Node<F>| {
        let entered = block_on(node.overlaps.enter(0..512, true));
        node.bytes.change();
        drop(entered);
    };
    let others = [0, 1].map(|_| {
        let node = Arc::clone(&node);
        spawn(move || write(&node))
    });
    write(&node);
    for other in others {
        other.join().expect("no panic");
    }
    assert!(node.overlaps.is_quiet());
}

/// One of the writes is dropped, perhaps while it waits.
fn one_that_gives_up_is_in_nobodys_way<F: Faults>() {
    let node = Node::<F>::new();
    let first = node.overlaps.try_enter(0..512, true).expect("alone");
    let cancelled = spawn({
        let node = Arc::clone(&node);
        move || {
            let entered = cancel_after(node.overlaps.enter(0..1024, true), [Waker::noop().clone()]);
            drop(entered);
        }
    });
    drop(first);
    let last = block_on(node.overlaps.enter(512..1024, false));
    cancelled.join().expect("no panic");
    drop(last);
    let quiet = node.overlaps.is_quiet();
    assert!(quiet, "somebody is still in the way");
}

/// A write was dropped, and the kernel goes on with it. Whoever hears of that
/// and writes to the same bytes does so afterwards, although plain requests
/// only look whether all is quiet.
fn what_lingers_is_waited_for<F: Faults>() {
    let node = Node::<F>::new();
    let lingering = node.overlaps.force(0..512);
    let kernel = spawn({
        let node = Arc::clone(&node);
        move || {
            node.bytes.change();
            node.overlaps.leave(lingering);
        }
    });
    let entered = match node.overlaps.is_quiet() {
        true => None,
        false => Some(block_on(node.overlaps.enter(0..512, false))),
    };
    node.bytes.change();
    drop(entered);
    kernel.join().expect("no panic");
}

/// A write waits for another, which is dropped while the kernel goes on with
/// it: what is left takes its place in front of those that wait.
fn what_lingers_is_waited_for_by_who_waited_for_its_request<F: Faults>() {
    let node = Node::<F>::new();
    let dropped = node.overlaps.try_enter(0..512, true).expect("alone");
    let waiting = spawn({
        let node = Arc::clone(&node);
        move || {
            let entered = block_on(node.overlaps.enter(0..512, true));
            node.bytes.change();
            drop(entered);
        }
    });
    let lingering = node.overlaps.force(0..512);
    drop(dropped);
    node.bytes.change();
    node.overlaps.leave(lingering);
    waiting.join().expect("no panic");
    assert!(node.overlaps.is_quiet());
}

/// A request that waits moves from one task to another. The waker of the first
/// is the last thing that holds that task, whose destructor asks the node.
fn a_waker_may_use_the_node_when_it_goes<F: Faults>() {
    let node = Node::<F>::new();
    let first = node.overlaps.try_enter(0..512, true).expect("alone");
    let leaving = spawn({
        let node = Arc::clone(&node);
        // Left by its ticket: what is entered borrows the node.
        let lingering = node.overlaps.force(0..512);
        move || node.overlaps.leave(lingering)
    });
    let wakers = (0..2).map(|_| Waker::from(Arc::new(LastOfItsTask(Arc::clone(&node)))));
    drop(cancel_after(node.overlaps.enter(0..512, true), wakers));
    drop(first);
    leaving.join().expect("no panic");
    assert!(node.overlaps.is_quiet(), "somebody is still in the way");
}

struct LastOfItsTask<F: Faults>(Arc<Node<F>>);

impl<F: Faults> Wake for LastOfItsTask<F> {
    fn wake(self: Arc<Self>) {}
}

impl<F: Faults> Drop for LastOfItsTask<F> {
    fn drop(&mut self) {
        // Loom cannot be used while its report of a failure unwinds.
        if !thread::panicking() {
            drop(self.0.overlaps.try_enter(1024..2048, false));
        }
    }
}
