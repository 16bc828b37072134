//! The event loop: the scenarios of `test-aio.c`.

mod bh;
mod coroutine;
mod event;

use block_io::aio::{EventLoop, Wait};

/// A loop for one test.
fn event_loop() -> EventLoop {
    EventLoop::new("test").expect("an event loop")
}

/// As long as it takes.
const FOREVER: Wait = Wait::Until(None);

/// Asserts that nothing is left to do.
#[track_caller]
fn assert_idle(event_loop: &EventLoop) {
    assert!(!event_loop.poll(Wait::No), "something ran");
}
