//! File descriptor handlers.

mod aio_support;

use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use block_io::aio::{
    AioError, EventLoop, FdRegistration, HomeThread, Interest, Ready, Wait, sleep, yield_now,
};

use aio_support::{drain, on_each_loop};
use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{ClockId, clock_gettime};

fn event() -> Arc<OwnedFd> {
    Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap())
}

fn set(event: &OwnedFd) {
    rustix::io::write(event, &1u64.to_ne_bytes()).unwrap();
}

/// Whether the event was set; it is not afterwards.
fn test_and_clear(event: &OwnedFd) -> bool {
    rustix::io::read(event, &mut [0; 8]).is_ok()
}

/// Runs `work` in a bottom half and returns what it returns.
fn in_bottom_half<T: Send + 'static>(
    event_loop: &EventLoop,
    work: impl FnOnce(&mut HomeThread<'_>) -> T + Send + 'static,
) -> T {
    let result = Arc::new(Mutex::new(None));
    let filled = Arc::clone(&result);
    event_loop.context().schedule(move |home| {
        let value = work(home);
        *filled.lock().unwrap() = Some(value);
    });
    while result.lock().unwrap().is_none() {
        event_loop.poll(Wait::No);
    }
    result.lock().unwrap().take().unwrap()
}

/// Watches `event` and counts how often it was found set.
fn count_events(event_loop: &EventLoop, event: &Arc<OwnedFd>) -> (FdRegistration, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let (counted, fd) = (Arc::clone(&count), Arc::clone(event));
    let registration = in_bottom_half(event_loop, move |home| {
        let cleared = Arc::clone(&fd);
        home.set_fd_handler(fd, Interest::READ, move |home, ready| {
            assert!(home.context().is_current() && ready.readable);
            if test_and_clear(&cleared) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        })
        .unwrap()
    });
    (registration, count)
}

#[test]
fn a_removed_handler_does_not_run() {
    on_each_loop(|event_loop| {
        let event = event();
        let (registration, count) = count_events(event_loop, &event);
        drain(event_loop);
        drop(registration);
        set(&event);
        drain(event_loop);
        assert_eq!(count.load(Ordering::SeqCst), 0);
        assert_eq!(
            Arc::strong_count(&event),
            1,
            "the loop lets go of the descriptor"
        );
        // It can be watched again.
        let (_registration, count) = count_events(event_loop, &event);
        while count.load(Ordering::SeqCst) == 0 {
            event_loop.poll(Wait::Until(None));
        }
    });
}

#[test]
fn each_event_is_one_call_and_idle_descriptors_do_not_spin() {
    on_each_loop(|event_loop| {
        let (busy, idle) = (event(), event());
        let (_first, busy_count) = count_events(event_loop, &busy);
        let (_second, idle_count) = count_events(event_loop, &idle);
        drain(event_loop);
        for round in 1..=10 {
            assert!(!event_loop.poll(Wait::No));
            set(&busy);
            while busy_count.load(Ordering::SeqCst) < round {
                event_loop.poll(Wait::Until(None));
            }
        }
        assert_eq!(idle_count.load(Ordering::SeqCst), 0);
        set(&idle);
        while !event_loop.poll(Wait::Until(None)) {}
        drain(event_loop);
        assert_eq!(idle_count.load(Ordering::SeqCst), 1);
        assert_eq!(busy_count.load(Ordering::SeqCst), 10);
    });
}

#[test]
fn a_handler_that_sets_its_event_again_runs_once_per_poll() {
    on_each_loop(|event_loop| {
        let event = event();
        let count = Arc::new(AtomicU32::new(0));
        let (fd, counted) = (Arc::clone(&event), Arc::clone(&count));
        let _registration = in_bottom_half(event_loop, move |home| {
            let cleared = Arc::clone(&fd);
            home.set_fd_handler(fd, Interest::READ, move |_, _| {
                assert!(test_and_clear(&cleared));
                if counted.fetch_add(1, Ordering::SeqCst) + 1 < 10 {
                    set(&cleared);
                }
            })
            .unwrap()
        });
        set(&event);
        for turn in 1..=10 {
            while count.load(Ordering::SeqCst) < turn {
                event_loop.poll(Wait::Until(None));
            }
            assert_eq!(count.load(Ordering::SeqCst), turn);
        }
        drain(event_loop);
        assert_eq!(count.load(Ordering::SeqCst), 10);
    });
}

#[test]
fn a_handler_may_remove_itself_and_others() {
    on_each_loop(|event_loop| {
        let events = [event(), event()];
        let registrations = Arc::new(Mutex::new(Vec::new()));
        let calls = Arc::new(AtomicU32::new(0));
        for event in &events {
            let (fd, calls) = (Arc::clone(event), Arc::clone(&calls));
            let all = Arc::clone(&registrations);
            let registration = in_bottom_half(event_loop, move |home| {
                home.set_fd_handler(fd, Interest::READ, move |_, _| {
                    calls.fetch_add(1, Ordering::SeqCst);
                    let all = std::mem::take(&mut *all.lock().unwrap());
                    drop(all);
                })
                .unwrap()
            });
            registrations.lock().unwrap().push(registration);
        }
        events.iter().for_each(|event| set(event));
        while !event_loop.poll(Wait::Until(None)) {}
        drain(event_loop);
        assert_eq!(
            calls.load(Ordering::SeqCst),
            1,
            "the first call removes both"
        );
        assert!(events.iter().all(|event| Arc::strong_count(event) == 1));
    });
}

#[test]
fn a_handler_that_polls_is_not_entered_twice_and_others_run() {
    on_each_loop(|event_loop| {
        let (outer, inner) = (event(), event());
        let (_inner, inner_count) = count_events(event_loop, &inner);
        let depth = Arc::new(AtomicU32::new(0));
        let calls = Arc::new(AtomicU32::new(0));
        let (fd, inner_set) = (Arc::clone(&outer), Arc::clone(&inner));
        let (counted, waited) = (Arc::clone(&calls), Arc::clone(&inner_count));
        let _outer = in_bottom_half(event_loop, move |home| {
            let cleared = Arc::clone(&fd);
            home.set_fd_handler(fd, Interest::READ, move |home, _| {
                assert_eq!(depth.fetch_add(1, Ordering::SeqCst), 0);
                // The event stays set while we poll, which must not make the poll spin or recurse.
                set(&inner_set);
                let waited = Arc::clone(&waited);
                let wait = async move {
                    while waited.load(Ordering::SeqCst) == 0 {
                        yield_now().await;
                    }
                };
                home.block_on(wait).unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                test_and_clear(&cleared);
                depth.fetch_sub(1, Ordering::SeqCst);
            })
            .unwrap()
        });
        set(&outer);
        while calls.load(Ordering::SeqCst) == 0 {
            event_loop.poll(Wait::Until(None));
        }
        assert_eq!(inner_count.load(Ordering::SeqCst), 1);
        drain(event_loop);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        // It was suspended meanwhile, and hears again.
        set(&outer);
        while calls.load(Ordering::SeqCst) == 1 {
            event_loop.poll(Wait::Until(None));
        }
    });
}

#[test]
fn an_event_nobody_can_take_now_does_not_make_a_nested_poll_spin() {
    on_each_loop(|event_loop| {
        let event = event();
        let spent = Arc::new(Mutex::new(None));
        let (fd, noted) = (Arc::clone(&event), Arc::clone(&spent));
        let _registration = in_bottom_half(event_loop, move |home| {
            let cleared = Arc::clone(&fd);
            home.set_fd_handler(fd, Interest::READ, move |home, _| {
                let before = clock_gettime(ClockId::ThreadCPUTime);
                home.block_on(sleep(Duration::from_millis(200))).unwrap();
                let after = clock_gettime(ClockId::ThreadCPUTime);
                *noted.lock().unwrap() = Some(after - before);
                test_and_clear(&cleared);
            })
            .unwrap()
        });
        set(&event);
        while spent.lock().unwrap().is_none() {
            event_loop.poll(Wait::Until(None));
        }
        let spent = spent.lock().unwrap().unwrap();
        assert!(
            spent.tv_sec == 0 && spent.tv_nsec < 100_000_000,
            "{spent:?} of 200 ms"
        );
    });
}

#[test]
fn a_registration_may_be_dropped_by_another_thread() {
    on_each_loop(|event_loop| {
        let event = event();
        let (registration, count) = count_events(event_loop, &event);
        thread::spawn(move || drop(registration)).join().unwrap();
        set(&event);
        drain(event_loop);
        assert_eq!(count.load(Ordering::SeqCst), 0);
        assert_eq!(Arc::strong_count(&event), 1);
    });
}

#[test]
fn a_registration_may_outlive_its_loop() {
    let event = event();
    let event_loop = EventLoop::new("test").unwrap();
    let (registration, _count) = count_events(&event_loop, &event);
    drop(event_loop);
    assert_eq!(
        Arc::strong_count(&event),
        2,
        "the handler is gone, the registration is not"
    );
    drop(registration);
    assert_eq!(Arc::strong_count(&event), 1);
}

#[test]
fn a_handler_that_panics_stays_installed() {
    on_each_loop(|event_loop| {
        let event = event();
        let calls = Arc::new(AtomicU32::new(0));
        let (fd, counted) = (Arc::clone(&event), Arc::clone(&calls));
        let _registration = in_bottom_half(event_loop, move |home| {
            let cleared = Arc::clone(&fd);
            home.set_fd_handler(fd, Interest::READ, move |_, _| {
                test_and_clear(&cleared);
                assert!(counted.fetch_add(1, Ordering::SeqCst) > 0, "first call");
            })
            .unwrap()
        });
        set(&event);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            while !event_loop.poll(Wait::Until(None)) {}
        }));
        assert!(caught.is_err());
        set(&event);
        while calls.load(Ordering::SeqCst) < 2 {
            event_loop.poll(Wait::Until(None));
        }
    });
}

#[test]
fn what_is_ready_is_told_apart() {
    on_each_loop(|event_loop| {
        let (here, mut there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let here = Arc::new(here);
        let seen = Arc::new(Mutex::new(Vec::<Ready>::new()));
        let (fd, noted) = (Arc::clone(&here), Arc::clone(&seen));
        let _registration = in_bottom_half(event_loop, move |home| {
            let stream = Arc::clone(&fd);
            home.set_fd_handler(fd, Interest::READ, move |_, ready| {
                let mut buffer = [0; 16];
                let result = (&*stream).read(&mut buffer);
                match result.map_err(|error| error.kind()) {
                    Ok(0 | 1) => noted.lock().unwrap().push(ready),
                    other => assert_eq!(other, Err(ErrorKind::WouldBlock)),
                }
            })
            .unwrap()
        });
        there.write_all(b"x").unwrap();
        while seen.lock().unwrap().is_empty() {
            event_loop.poll(Wait::Until(None));
        }
        let first = seen.lock().unwrap()[0];
        assert!(first.readable && !first.writable && !first.hang_up);
        drop(there);
        while seen.lock().unwrap().len() < 2 {
            event_loop.poll(Wait::Until(None));
        }
        assert!(seen.lock().unwrap()[1].hang_up);
    });
}

#[test]
fn a_regular_file_cannot_be_watched() {
    on_each_loop(|event_loop| {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let error = in_bottom_half(event_loop, move |home| {
            home.set_fd_handler(file, Interest::READ, |_, _| ())
                .unwrap_err()
        });
        assert!(matches!(error, AioError::Watch { .. }));
    });
}

#[test]
fn a_silent_descriptor_lets_the_loop_sleep() {
    on_each_loop(|event_loop| {
        let event = event();
        let (_registration, _count) = count_events(event_loop, &event);
        drain(event_loop);
        let mut turns = 0;
        let deadline = Instant::now() + Duration::from_millis(30);
        while Instant::now() < deadline {
            event_loop.poll(Wait::Until(Some(deadline)));
            turns += 1;
        }
        assert!(turns < 10, "{turns} turns without an event");
    });
}
