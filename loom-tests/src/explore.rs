//! Running loom, and counting what it does.

use std::any::Any;
use std::cell::Cell;
use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use loom::thread::JoinHandle;

use crate::Failure;

/// The environment variable that lifts all bounds.
const EXHAUSTIVE: &str = "LOOM_EXHAUSTIVE";

/// How much of a model's behaviour is explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Every interleaving.
    Exhaustive,
    /// Those in which threads are interrupted at most so often while they
    /// could go on. Waiting for a lock or a wake-up does not count.
    Preemptions(usize),
}

/// What an exploration came to.
#[derive(Clone, Copy, Debug)]
pub struct Explored {
    /// What was explored.
    pub bound: Bound,
    /// How many executions there were.
    pub iterations: u64,
    /// The largest number of threads in one execution.
    pub threads: usize,
    /// How long it took.
    pub time: Duration,
}

/// Explores `body`, which must hold in every execution.
///
/// # Panics
/// When it fails, or when there were not more than `min_iterations`
/// executions: then the threads do not race as its author believed.
pub fn model(name: &str, bound: Bound, min_iterations: u64, body: fn()) -> Explored {
    let (explored, outcome) = explore(bound, body);
    if let Err(panic) = outcome {
        println!("{name}: fails in execution {}", explored.iterations);
        panic::resume_unwind(panic);
    }
    assert!(
        explored.iterations > min_iterations,
        "{name}: {} executions, more than {min_iterations} were expected",
        explored.iterations
    );
    explored
}

/// Explores `body`, which must fail as `expected`.
///
/// # Panics
/// When it holds, or fails in another way.
pub fn must_fail(name: &str, bound: Bound, expected: Failure, body: fn()) -> Explored {
    let (explored, outcome) = silenced(|| explore(bound, body));
    let executions = explored.iterations;
    let Err(panic) = outcome else {
        panic!("{name}: survived {executions} executions");
    };
    let message = message_of(&*panic);
    assert!(
        message.contains(expected.text()),
        "{name}: failed in execution {executions}, but with '{message}' where '{}' was expected",
        expected.text()
    );
    explored
}

thread_local! {
    static SPAWNED: Cell<usize> = const { Cell::new(0) };
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Starts another thread of the model that runs now. Loom allows five
/// including the first; more than three are rarely explored to the end.
pub fn spawn<T: 'static>(body: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    // All threads of a model run in the one that explores it.
    SPAWNED.set(SPAWNED.get() + 1);
    loom::thread::spawn(body)
}

fn explore(bound: Bound, body: fn()) -> (Explored, Result<(), Box<dyn Any + Send>>) {
    let iterations = Arc::new(AtomicU64::new(0));
    let threads = Arc::new(AtomicUsize::new(1));
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 10_000;
    // Loom reads these from the environment and stops early, without a word.
    builder.max_permutations = None;
    builder.max_duration = None;
    builder.checkpoint_file = None;
    let bound = match env::var_os(EXHAUSTIVE) {
        Some(_) => Bound::Exhaustive,
        None => bound,
    };
    builder.preemption_bound = match bound {
        Bound::Exhaustive => None,
        Bound::Preemptions(most) => Some(most),
    };
    let start = Instant::now();
    let outcome = {
        let (iterations, threads) = (Arc::clone(&iterations), Arc::clone(&threads));
        let run = move || {
            iterations.fetch_add(1, Relaxed);
            SPAWNED.set(0);
            body();
            threads.fetch_max(1 + SPAWNED.get(), Relaxed);
        };
        panic::catch_unwind(AssertUnwindSafe(|| builder.check(run)))
    };
    let explored = Explored {
        bound,
        iterations: iterations.load(Relaxed),
        threads: threads.load(Relaxed),
        time: start.elapsed(),
    };
    (explored, outcome)
}

/// Runs `f` without the reports of panics in this thread.
fn silenced<T>(f: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !SILENT.get() {
                usual(info);
            }
        }));
    });
    SILENT.set(true);
    let result = f();
    SILENT.set(false);
    result
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a text")
}
