//! A job that works races sections over its nodes.
//!
//! `Pause::work` against what the ledger does for a parent that is neither
//! node nor root: `Pause::pause` and `Pause::resume` for each edge, and
//! `Pause::poll_paused` while the section waits.
//!
//! And a job that sleeps between its steps, with `Rest`: it hears of a pause
//! and of what else somebody wants of it.
//!
//! Two threads. Without a bound the first takes more than a minute; with
//! one preemption all mutants are found, three leave two to spare.

use std::future::{pending, poll_fn};
use std::mem::ManuallyDrop;
use std::sync::Arc;

use block_common::sync::{AtomicBool, Ordering};
use block_io::engine::{Pause, Rest};

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
    "H12" a_job_that_sleeps_is_paused_and_told_to_end:
        Bound::Preemptions(3), more than 1200 executions, killing {
            LookThenLeave => Deadlock,
            KickWakesOnly => Deadlock,
            PausedWhenTold => WriteRace,
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

/// The job has nothing to do but to look, asleep in between. It is paused for
/// a section, and told to end.
fn a_job_that_sleeps_is_paused_and_told_to_end<F: Faults>() {
    let job = Arc::new(Pause::<F>::new());
    let rest = Arc::new(Rest::<F>::new());
    let end = Arc::new(AtomicBool::new(false));
    let bytes = Arc::new(Bytes::default());
    let working = spawn({
        let (job, bytes) = (Arc::clone(&job), Arc::clone(&bytes));
        let (rest, end) = (Arc::clone(&rest), Arc::clone(&end));
        move || {
            loop {
                let step = ManuallyDrop::new(block_on(job.work()));
                bytes.change();
                let ended = end.load(Ordering::Acquire);
                if !ended {
                    // The step lasts: a section waits until the sleeper has
                    // seen that it is to pause.
                    block_on(rest.rest(|| job.count() > 0, pending()));
                }
                drop(ManuallyDrop::into_inner(step));
                if ended {
                    return;
                }
            }
        }
    });
    job.pause();
    rest.wake();
    block_on(poll_fn(|cx| job.poll_paused(cx)));
    bytes.change();
    job.resume();
    end.store(true, Ordering::Release);
    rest.kick();
    working.join().expect("no panic");
    assert_eq!(job.count(), 0, "it resumed");
}
