//! A job that works races sections over its nodes.
//!
//! `Pause::work` against what the ledger does for a parent that is neither
//! node nor root: `Pause::pause` and `Pause::resume` for each edge, and
//! `Pause::poll_paused` while the section waits.
//!
//! Two threads. Without a bound there are 320 000 executions, most of a
//! minute's worth; two preemptions find all mutants, five leave three to spare.

use std::mem::ManuallyDrop;
use std::sync::Arc;

use loom_tests::{Bound, Bytes, Faults, Graph, block_on, models, spawn};

models! {
    "H12" a_job_pauses_and_resumes_once:
        Bound::Preemptions(5), more than 3000 executions, killing {
            PausedWhenTold => WriteRace,
            WriteWithoutWaiting => WriteRace,
            EveryReasonGoesUp => Deadlock,
            HandOverAgain => Panic("a gate is opened as often as it is closed"),
            NoKickAtZero => Deadlock,
        }
}

/// The job works in two steps. Sections open over both of its nodes, over one
/// of them twice; between the sections' opening and their end the bytes are
/// the main thread's.
fn a_job_pauses_and_resumes_once<F: Faults>() {
    let mut graph = Graph::<F>::of_one_node();
    let other = graph.add_node();
    let (key, job) = graph.add_job();
    let edges = [graph.link_job(key, 0), graph.link_job(key, other)];
    let bytes = Arc::new(Bytes::default());
    let working = spawn({
        let (job, bytes) = (Arc::clone(&job), Arc::clone(&bytes));
        move || {
            for _ in 0..2 {
                // Its destructor uses loom, so it must not run when loom
                // reports a race.
                let step = ManuallyDrop::new(block_on(job.work()));
                bytes.change();
                drop(ManuallyDrop::into_inner(step));
            }
        }
    });
    graph.begin(0);
    graph.begin(0);
    graph.begin(other);
    bytes.change();
    graph.end(0);
    graph.end(other);
    graph.end(0);
    for edge in edges {
        graph.unlink(edge);
    }
    working.join().expect("no panic");
    assert_eq!(job.count(), 0, "it resumed");
    graph.check();
}
