//! What the tests of the event loop share.
#![allow(dead_code, reason = "each test binary uses another part")]

use std::any::Any;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use block_io::aio::{EventLoop, LoopOptions, Wait};

/// Runs a test with io_uring, where the kernel has it, and without.
pub fn on_each_loop(test: impl Fn(&EventLoop)) {
    with_each_option(|options| test(&EventLoop::with_options("test", options).unwrap()));
}

pub fn with_each_option(test: impl Fn(LoopOptions)) {
    for io_uring in [true, false] {
        let mut options = LoopOptions::default();
        options.io_uring = io_uring;
        test(options);
    }
}

pub fn forever() -> Wait {
    Wait::Until(None)
}

pub fn drain(event_loop: &EventLoop) {
    while event_loop.poll(Wait::No) {}
}

/// What a panic says.
pub fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref().cloned()).unwrap()
}

#[derive(Clone, Default)]
pub struct Count(Arc<AtomicU32>);

impl Count {
    pub fn add(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub fn get(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<(bool, Vec<Waker>)>>);

impl Gate {
    pub fn open(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        let wakers = std::mem::take(&mut state.1);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub async fn wait(&self) {
        poll_fn(|cx| {
            let mut state = self.0.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            state.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub fn waiters(&self) -> usize {
        self.0.lock().unwrap().1.len()
    }
}
