//! Tasks.

use std::sync::Arc;
use std::thread;

use scenarios::Watch;

use crate::{FOREVER, event_loop};

/// `/aio/coroutine/queue-chaining`
#[test]
fn coroutine_queue_chaining() {
    const ROUNDS: u32 = 25_000;
    let event_loop = event_loop();
    let turn = Arc::new(Watch::new(0_u32));
    let players = [0, 1].map(|me| {
        let turn = Arc::clone(&turn);
        event_loop.context().spawn(async move {
            let mut played = 0;
            for _ in 0..ROUNDS {
                turn.until(|turn| turn % 2 == me).await;
                played += 1;
                // Wakes the other one, which wakes us, and so on.
                turn.update(|turn| *turn += 1);
            }
            played
        })
    });
    for player in players {
        assert_eq!(event_loop.block_on(player), ROUNDS);
    }
    assert_eq!(turn.read(|turn| *turn), 2 * ROUNDS);
}

/// `/aio/coroutine/worker-thread-co-enter`
#[test]
fn coroutine_worker_thread_co_enter() {
    let event_loop = event_loop();
    let context = event_loop.context().clone();
    let worker = thread::spawn(move || {
        let here = thread::current().id();
        (here, context.spawn(async { thread::current().id() }))
    });
    let (worker, task) = worker.join().expect("no panic");
    assert!(!task.is_finished(), "it does not run over there");
    while !task.is_finished() {
        event_loop.poll(FOREVER);
    }
    let ran_in = event_loop.block_on(task);
    assert_eq!(ran_in, thread::current().id());
    assert_ne!(ran_in, worker);
}
