//! Requests race sections over a graph whose edges are attached, detached and
//! replaced.
//!
//! `Root::begin`, `InFlight::request`, `Request::file` and `GraphCell::get`
//! against `ledger::{add_reason, take_reason, hand_over, move_edge, wait_while}` and
//! what is done for them: gates of nodes and roots, cells of children and of
//! drivers. The counters are compared with the sections that are open after
//! every step.
//!
//! Each step takes several locks: the smallest of these programs takes more
//! than two minutes without a bound. Two preemptions find all mutants but
//! `WAIT_ONCE`, which takes three, because both requests have to be
//! interrupted, and the section before it begins. Hence five, and three where
//! three threads run at once; with four that model holds too, in 374 000
//! executions and two minutes.

use loom_tests::{Bound, Faults, Graph, models, spawn};

models! {
    "H4" counters_follow_an_edge_that_moves:
        Bound::Preemptions(5), more than 2000 executions, killing {
            ParentFreedBeforeTheMove => Race,
            WriteWithoutWaiting => Race,
        }
    "H4" counters_follow_what_is_attached_and_detached:
        Bound::Preemptions(5), more than 6000 executions, killing {
            AttachHandsNothingOver => Panic("the counters are not what is open"),
            AttachCountsTwice => Panic("the counters are not what is open"),
            ParentFreedBeforeTheMove => Race,
        }
    "H4" counters_follow_sections_that_nest:
        Bound::Preemptions(5), more than 12000 executions, killing {
            EveryReasonGoesUp => Panic("the counters are not what is open"),
            HandOverAgain => Panic("a drained section ends once"),
        }
    "H6" a_cell_is_replaced_when_both_roots_are_idle:
        Bound::Preemptions(3), more than 10000 executions, killing {
            WaitOnce => Race,
            WriteWithoutWaiting => Race,
        }
    "H10" what_is_made_meanwhile_is_covered:
        Bound::Preemptions(5), more than 7000 executions, killing {
            BornOpen => Panic("a request ran inside a section over its node"),
            BornQuiescedOnce => Panic("a request ran inside a section over its node"),
        }
}

/// A section over the old child lets the edge to it be replaced. The new child
/// is not quiesced, so the parent is let go with the replacement, before the
/// section ends.
fn counters_follow_an_edge_that_moves<F: Faults>() {
    let mut graph = Graph::<F>::of_one_node();
    let (old, new) = (graph.add_node(), graph.add_node());
    let (below, root) = graph.add_root();
    graph.begin(0);
    let edge = graph.link(0, old);
    graph.end(0);
    graph.link_root(below, 0);
    let request = spawn({
        let (shared, root) = (graph.shared(), root.clone());
        move || assert!(shared.request(&root), "there is a node all the time")
    });
    graph.begin(old);
    graph.check();
    graph.relink(edge, new);
    graph.check();
    assert_eq!(root.quiesce_count(), 0, "let go before the section ends");
    request.join().expect("no panic");
    graph.end(old);
    graph.check();
}

/// What is attached is in a section of its own, which goes on when that of the
/// parent is over. It is detached inside another one.
fn counters_follow_what_is_attached_and_detached<F: Faults>() {
    let mut graph = Graph::<F>::of_one_node();
    let child = graph.add_node();
    let (below, root) = graph.add_root();
    graph.link_root(below, 0);
    graph.begin(child);
    let request = spawn({
        let (shared, root) = (graph.shared(), root.clone());
        move || assert!(shared.request(&root), "there is a node all the time")
    });
    graph.begin(0);
    graph.check();
    let edge = graph.link(0, child);
    graph.check();
    graph.end(0);
    graph.check();
    assert_eq!(root.quiesce_count(), 1, "the child's section goes on");
    graph.unlink(edge);
    graph.check();
    assert_eq!(root.quiesce_count(), 0, "nothing is below any more");
    graph.end(child);
    graph.check();
    request.join().expect("no panic");
}

/// Two sections over one child and one over another: the parent hears of the
/// first only, and nothing when its edge goes from one to the other.
fn counters_follow_sections_that_nest<F: Faults>() {
    let mut graph = Graph::<F>::of_one_node();
    let (old, new) = (graph.add_node(), graph.add_node());
    let (below, root) = graph.add_root();
    graph.begin(0);
    let edge = graph.link(0, old);
    graph.end(0);
    graph.link_root(below, 0);
    let request = spawn({
        let (shared, root) = (graph.shared(), root.clone());
        move || assert!(shared.request(&root), "there is a node all the time")
    });
    graph.begin(new);
    graph.begin(old);
    graph.begin(old);
    graph.check();
    graph.end(old);
    graph.check();
    graph.relink(edge, new);
    graph.check();
    graph.end(old);
    graph.check();
    assert_eq!(root.quiesce_count(), 1, "the new child's section goes on");
    graph.end(new);
    graph.check();
    request.join().expect("no panic");
}

/// Two roots above one node, each with a request in a thread of its own. The
/// first to end wakes the section, which has to look whether it was the last.
fn a_cell_is_replaced_when_both_roots_are_idle<F: Faults>() {
    let mut graph = Graph::<F>::of_one_node();
    let requests = [(); 2].map(|()| {
        let (below, root) = graph.add_root();
        graph.link_root(below, 0);
        let shared = graph.shared();
        spawn(move || shared.request(&root))
    });
    graph.begin(0);
    graph.set(1);
    graph.end(0);
    for request in requests {
        assert!(request.join().expect("no panic"));
    }
    graph.check();
}

/// Inside two sections over everything a node is made and put below a root.
/// Until the second has ended no request gets there.
fn what_is_made_meanwhile_is_covered<F: Faults>() {
    let mut graph = Graph::<F>::of_one_node();
    let (below, root) = graph.add_root();
    let trying = spawn({
        let (shared, root) = (graph.shared(), root.clone());
        move || shared.try_request(&root)
    });
    graph.begin_all();
    graph.begin_all();
    let node = graph.add_node();
    graph.link_root(below, node);
    let got_there = trying.join().expect("no panic");
    assert!(!got_there, "there was no node before the sections");
    let request = spawn({
        let (shared, root) = (graph.shared(), root.clone());
        move || assert!(shared.request(&root), "there is a node")
    });
    graph.shared().try_request(&root);
    graph.end_all();
    graph.shared().try_request(&root);
    graph.check();
    graph.end_all();
    request.join().expect("no panic");
    graph.check();
}
