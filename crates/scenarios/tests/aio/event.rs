//! Descriptors of events.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use block_io::aio::{EventLoop, FdRegistration, Interest, Wait};
use rustix::event::{EventfdFlags, eventfd};
use scenarios::Watch;

use crate::{FOREVER, assert_idle, event_loop};

/// An event, and a handler that counts.
struct Event {
    fd: Arc<OwnedFd>,
    calls: Arc<AtomicU32>,
    /// How often the handler sets it again.
    again: Arc<AtomicU32>,
}

impl Event {
    fn new() -> Event {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Event {
            fd: Arc::new(eventfd(0, flags).expect("an eventfd")),
            calls: Arc::default(),
            again: Arc::default(),
        }
    }

    fn set(&self) {
        set(&self.fd);
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Has the loop watch it.
    fn watch(&self, event_loop: &EventLoop) -> FdRegistration {
        let place = Arc::new(Watch::new(None));
        let (filled, fd) = (Arc::clone(&place), Arc::clone(&self.fd));
        let (calls, again) = (Arc::clone(&self.calls), Arc::clone(&self.again));
        event_loop.context().schedule(move |home| {
            let event = Arc::clone(&fd);
            let registration = home.set_fd_handler(fd, Interest::READ, move |_, _| {
                rustix::io::read(&*event, &mut [0; 8]).expect("it is set");
                calls.fetch_add(1, Ordering::Relaxed);
                let left = again.load(Ordering::Relaxed);
                if left > 0 {
                    again.store(left - 1, Ordering::Relaxed);
                    set(&event);
                }
            });
            filled.update(|place| *place = Some(registration.expect("watched")));
        });
        while event_loop.poll(Wait::No) {}
        place.update(Option::take).expect("there")
    }
}

fn set(event: &OwnedFd) {
    rustix::io::write(event, &1_u64.to_ne_bytes()).expect("set");
}

/// `/aio/event/add-remove`
#[test]
fn event_add_remove() {
    let (event_loop, event) = (event_loop(), Event::new());
    let registration = event.watch(&event_loop);
    assert_idle(&event_loop);
    drop(registration);
    assert_idle(&event_loop);
    assert_eq!(event.calls(), 0);
    assert_eq!(Arc::strong_count(&event.fd), 1, "the loop has let it go");
}

/// `/aio/event/wait/no-flush-cb`
#[test]
fn event_wait_no_flush_cb() {
    let event_loop = event_loop();
    let (active, dummy) = (Event::new(), Event::new());
    let _first = active.watch(&event_loop);
    assert_idle(&event_loop);
    assert_eq!(active.calls(), 0);

    let _second = dummy.watch(&event_loop);
    for turn in 1..=10 {
        active.set();
        while active.calls() < turn {
            event_loop.poll(FOREVER);
        }
        assert_eq!(active.calls(), turn, "one call for each time");
        assert_idle(&event_loop);
    }
    assert_eq!(dummy.calls(), 0);
    dummy.set();
    while dummy.calls() == 0 {
        event_loop.poll(FOREVER);
    }
    assert_idle(&event_loop);
    assert_eq!((active.calls(), dummy.calls()), (10, 1));
}

/// `/aio/event/flush`
#[test]
fn event_flush() {
    let (event_loop, event) = (event_loop(), Event::new());
    event.again.store(9, Ordering::Relaxed);
    let _registration = event.watch(&event_loop);
    assert_idle(&event_loop);
    event.set();
    for turn in 1..=10 {
        while event.calls() < turn {
            event_loop.poll(FOREVER);
        }
        assert_eq!(event.calls(), turn, "one a poll");
    }
    assert_idle(&event_loop);
    assert_eq!(event.calls(), 10);
}
