//! Beginning a request races closing the gate and waiting until it is idle.
//!
//! `Gate::begin`, `Gate::end` and a look at the child, against `Gate::close`,
//! `Gate::poll_idle`, a write of the child, `Gate::open`.
//!
//! Two threads are explored to the end. Three that may park take minutes to
//! hours without a bound, hence three preemptions: with one, some mutants
//! survive; with two, all are found; one is to spare.

use std::future::poll_fn;
use std::sync::Arc;

use loom_tests::{Bound, Bytes, Faults, Gate, Root, block_on, models, spawn};

models! {
    "H1" drain_excludes_a_request:
        Bound::Exhaustive, more than 300 executions, killing {
            TestThenCount => Race,
            ParkWithoutRetest => Deadlock,
            NoKickAtZero => Deadlock,
            ClosedAfterTheWait => Deadlock,
            LookThenRegister => Deadlock,
            EndWithoutRelease => Race,
            LookWithoutAcquire => Race,
            OpenWithoutRelease => Race,
            BeginWithoutAcquire => Race,
        }
    "H1" drain_excludes_two_requests:
        Bound::Preemptions(3), more than 2000 executions, killing {
            TestThenCount => Race,
            NoKickAtZero => Deadlock,
            EndWithoutRelease => Race,
            BeginWithoutAcquire => Race,
        }
    "H1" a_request_turned_away_holds_up_no_drain:
        Bound::Preemptions(3), more than 1000 executions, killing {
            NoKickAtZero => Deadlock,
            LookThenRegister => Deadlock,
        }
    "H1" what_a_request_does_at_its_end_is_waited_for:
        Bound::Exhaustive, more than 50 executions, killing {
            EndBeforeTheTail => WriteRace,
            EndWithoutRelease => WriteRace,
        }
    "H13" shards_close_as_one:
        Bound::Preemptions(3), more than 4000 executions, killing {
            CloseFirstShardOnly => Race,
            TestThenCount => Race,
            NoKickAtZero => Deadlock,
        }
    "H13" a_woken_request_is_seen_in_its_shard:
        Bound::Exhaustive, more than 2000 executions, killing {
            WokenCountsItself => Race,
            CloseFirstShardOnly => Race,
        }
}

/// One request, one drained section that writes the child.
fn drain_excludes_a_request<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    let request = spawn({
        let root = Arc::clone(&root);
        move || root.request(0)
    });
    root.drain();
    root.replace(1, true);
    root.gate().open();
    let child = request.join().expect("no panic");
    assert!(child <= 1);
    assert!(root.gate().is_idle(), "the request has ended");
}

/// Two requests in one shard: neither ends the other's count.
fn drain_excludes_two_requests<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    let requests = [0, 0].map(|shard| {
        let root = Arc::clone(&root);
        spawn(move || root.request(shard))
    });
    root.drain();
    root.replace(1, true);
    root.gate().open();
    for request in requests {
        request.join().expect("no panic");
    }
    assert!(root.gate().is_idle(), "both have ended");
}

/// A try that finds the gate closed counts itself for a moment. That moment
/// may hide the end of the last request from the drain, but not for ever.
fn a_request_turned_away_holds_up_no_drain<F: Faults>() {
    let root = Arc::new(Root::<F>::new(1));
    let running = root.begin(0);
    let ending = spawn({
        let root = Arc::clone(&root);
        move || root.gate().end(running)
    });
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
    root.replace(1, true);
    root.gate().open();
    ending.join().expect("no panic");
    trying.join().expect("no panic");
    assert!(root.gate().is_idle(), "what was turned away is not counted");
}

/// What goes on after its request was dropped puts the node in order at its
/// end; the section that waits for it does so afterwards.
fn what_a_request_does_at_its_end_is_waited_for<F: Faults>() {
    let gate = Arc::new(Gate::<F>::new(1));
    let node = Arc::new(Bytes::default());
    let running = gate.begin_as_owner(0);
    let ending = spawn({
        let (gate, node) = (Arc::clone(&gate), Arc::clone(&node));
        move || gate.end_after(running, || node.change())
    });
    gate.close();
    block_on(poll_fn(|cx| gate.poll_idle(cx)));
    node.change();
    gate.open();
    ending.join().expect("no panic");
}

/// A shard each for two requests. The drain adds up shards one after the
/// other, while the requests come and go.
fn shards_close_as_one<F: Faults>() {
    let root = Arc::new(Root::<F>::new(2));
    let requests = [0, 1].map(|shard| {
        let root = Arc::clone(&root);
        spawn(move || root.request(shard))
    });
    root.drain();
    root.replace(1, true);
    root.gate().open();
    for request in requests {
        request.join().expect("no panic");
    }
    assert!(root.gate().is_idle(), "both have ended");
}

/// A request of the second shard parks, and is admitted by the end of one
/// section while the next is on its way: at no moment are all shards zero.
fn a_woken_request_is_seen_in_its_shard<F: Faults>() {
    let root = Arc::new(Root::<F>::new(2));
    root.gate().close();
    let request = spawn({
        let root = Arc::clone(&root);
        move || root.request(1)
    });
    root.gate().open();
    root.drain();
    root.replace(1, true);
    root.gate().open();
    request.join().expect("no panic");
    assert!(root.gate().is_idle(), "the request has ended");
}
