//! Several event loops: the scenarios of `test-aio-multithread.c`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use block_io::aio::{AioContext, ContextThread, EventLoop, Home, yield_now};
use block_io::engine::Overlaps;
use scenarios::Watch;
use test_support::Random;

/// At least so long, and so often.
const LONG: Duration = Duration::from_secs(1);
const OFTEN: u64 = 1000;

fn threads(count: usize) -> Vec<ContextThread> {
    (0..count)
        .map(|index| ContextThread::spawn(&format!("io{index}")).expect("a thread"))
        .collect()
}

fn contexts(threads: &[ContextThread]) -> Vec<AioContext> {
    threads.iter().map(|it| it.context().clone()).collect()
}

/// Waits until `count` is high enough, and long enough.
fn let_run(count: &AtomicU64) {
    let begin = Instant::now();
    while begin.elapsed() < LONG || count.load(Ordering::Relaxed) < OFTEN {
        thread::sleep(Duration::from_millis(10));
    }
}

/// `/aio/multi/lifecycle`
#[test]
fn aio_multi_lifecycle() {
    let threads = threads(5);
    let (tell, told) = mpsc::channel();
    for thread in &threads {
        let tell = tell.clone();
        thread.context().schedule(move |home| {
            assert!(home.context().is_current());
            tell.send(home.context().clone()).expect("waited for");
        });
    }
    drop(tell);
    let mut ran: Vec<_> = told.iter().collect();
    ran.sort_by(|a, b| a.name().cmp(b.name()));
    assert_eq!(ran, contexts(&threads));
    for thread in threads {
        thread.stop().expect("it ends");
    }
}

/// Where a task waits until another one comes by.
type Slot = Mutex<Option<Arc<Watch<bool>>>>;

/// Puts `new` into the slot, and lets whoever was there go on.
fn take_turns(slot: &Slot, new: Option<Arc<Watch<bool>>>) {
    let before = std::mem::replace(&mut *slot.lock().expect("no panic"), new);
    if let Some(before) = before {
        before.update(|go| *go = true);
    }
}

/// `/aio/multi/schedule`
#[test]
fn aio_multi_schedule() {
    let threads = threads(5);
    let contexts = Arc::new(contexts(&threads));
    let slots: Arc<Vec<Slot>> = Arc::new(contexts.iter().map(|_| Slot::default()).collect());
    let (stop, hops) = (
        Arc::new(AtomicBool::new(false)),
        Arc::<AtomicU64>::default(),
    );
    let tasks: Vec<_> = (0..10_u64)
        .map(|seed| {
            let home = Arc::new(Home::new(contexts[seed as usize % 5].clone()));
            let (contexts, slots) = (Arc::clone(&contexts), Arc::clone(&slots));
            let (stop, hops) = (Arc::clone(&stop), Arc::clone(&hops));
            let own = Arc::clone(&home);
            home.spawn(async move {
                let is_running = AtomicBool::new(true);
                let mut random = Random(seed);
                while !stop.load(Ordering::Relaxed) {
                    let next = random.next(contexts.len() as u64) as usize;
                    own.set(contexts[next].clone());
                    yield_now().await;
                    assert!(contexts[next].is_current());
                    let go = Arc::new(Watch::new(false));
                    is_running.store(false, Ordering::SeqCst);
                    take_turns(&slots[next], Some(Arc::clone(&go)));
                    go.until(|go| *go).await;
                    let before = is_running.swap(true, Ordering::SeqCst);
                    assert!(!before, "scheduled twice");
                    assert!(contexts[next].is_current());
                    hops.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let_run(&hops);
    stop.store(true, Ordering::Relaxed);
    // Who waits in a slot has nobody left to come by.
    while tasks.iter().any(|task| !task.is_finished()) {
        slots.iter().for_each(|slot| take_turns(slot, None));
        thread::sleep(Duration::from_millis(1));
    }
    let main = EventLoop::new("main").expect("an event loop");
    for task in tasks {
        main.block_on(task);
    }
    let is_empty = |slot: &Slot| slot.lock().expect("no panic").is_none();
    assert!(slots.iter().all(is_empty));
}

/// `/aio/multi/mutex/handoff`: requests that exclude each other take turns.
#[test]
fn aio_multi_mutex_handoff() {
    let threads = threads(2);
    let turns = Arc::new(Overlaps::<block_io::engine::NoFaults>::new());
    let (stop, inside) = (
        Arc::new(AtomicBool::new(false)),
        Arc::<AtomicBool>::default(),
    );
    // Not incremented in one step, unlike the other.
    let (plain, atomic) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let tasks: Vec<_> = threads
        .iter()
        .flat_map(|thread| [thread, thread])
        .map(|thread| {
            let (turns, stop) = (Arc::clone(&turns), Arc::clone(&stop));
            let (inside, plain) = (Arc::clone(&inside), Arc::clone(&plain));
            let atomic = Arc::clone(&atomic);
            thread.context().spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let turn = turns.enter(0..1, true).await;
                    assert!(!inside.swap(true, Ordering::Relaxed), "two at once");
                    let before = plain.load(Ordering::Relaxed);
                    if before % 16 == 0 {
                        yield_now().await;
                    }
                    plain.store(before + 1, Ordering::Relaxed);
                    inside.store(false, Ordering::Relaxed);
                    drop(turn);
                    atomic.fetch_add(1, Ordering::Relaxed);
                    if before % 64 == 0 {
                        yield_now().await;
                    }
                }
            })
        })
        .collect();
    let_run(&atomic);
    stop.store(true, Ordering::Relaxed);
    let main = EventLoop::new("main").expect("an event loop");
    for task in tasks {
        main.block_on(task);
    }
    let [plain, atomic] = [plain, atomic].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(plain, atomic);
}
