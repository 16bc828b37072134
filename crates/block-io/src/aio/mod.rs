//! The event loop: `AioContext` and everything that runs on it.
//!
//! **Problem.** Block I/O is asynchronous, is served by several threads at once, and QEMU's main
//! loop may be run from inside its own callbacks (nested polling). General async runtimes forbid
//! the latter, so this module brings its own loop. It stands where QEMU has `util/async.c`,
//! `util/aio-posix.c`, `util/fdmon-*.c`, `util/thread-pool.c` and `block/io_uring.c`.
//!
//! **Shape.** One [`EventLoop`] per thread owns the queues and cannot leave its thread. Its
//! [`AioContext`] is a handle that any thread may clone and use to [`spawn`](AioContext::spawn)
//! tasks and [`schedule`](AioContext::schedule) bottom halves. The loop serves bottom halves,
//! tasks, timers, file descriptors and completions of its io_uring.
//!
//! **What the types say.**
//! - Only the thread that owns an [`EventLoop`] can poll it: the loop is neither `Send` nor `Sync`.
//! - [`HomeThread`] proves "on the event loop of this context and not in a coroutine". Only the
//!   loop makes one, and lends it to bottom halves and file descriptor handlers. A task never
//!   sees one, so I/O code cannot poll or block.
//! - Memory handed to the kernel is owned by the operation, not by the future that waits for it:
//!   dropping the future cannot free it early ([`mod@file`]).
//! - A future driven by [`EventLoop::block_on`] may borrow from the caller's stack; nothing outside
//!   that call can reach it once the call ends, not even by leaking.
//!
//! **What they do not prove.** That code in a task does not block the thread by other means
//! (`std::thread::sleep`, a lock held elsewhere); that a task terminates; that two loops on one
//! thread are not polled inside each other, which is refused at run time.
//!
//! **Nested polling.** No internal cell is borrowed while foreign code runs (callbacks, futures,
//! wakers, destructors), and work is taken from the queues one item at a time. So a nested poll
//! finds everything the outer one has not started yet.

mod alarm;
mod context;
mod error;
mod event_loop;
mod fd;
pub mod file;
#[cfg(test)]
mod file_tests;
mod home;
mod home_thread;
mod pool;
mod ready;
#[allow(unsafe_code)]
mod scoped;
mod slots;
mod task;
mod thread;
mod timer;
#[allow(unsafe_code)]
mod tracked;
#[allow(unsafe_code)]
mod uring;

pub use context::AioContext;
pub use error::AioError;
pub use event_loop::{Entered, EventLoop, LoopOptions, Wait};
pub use fd::{FdRegistration, Interest, Ready};
pub use file::Engine;
pub use home::Home;
pub use home_thread::HomeThread;
pub use pool::{Blocking, run_blocking};
pub use task::{JoinHandle, YieldNow, yield_now};
pub use thread::ContextThread;
pub use timer::{Sleep, sleep, sleep_until};
