//! A thread that runs an event loop.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use super::{AioContext, AioError, EventLoop, LoopOptions, Wait};

/// A thread with an event loop, until it is told to stop (the machinery of QEMU's `IOThread`).
///
/// Dropping it stops and joins the thread. Dropped *on* the thread, it only asks it to stop.
pub struct ContextThread {
    context: AioContext,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ContextThread {
    /// Starts a thread. Both it and its context are called `name`.
    ///
    /// # Errors
    /// [`AioError::StartThread`], or what [`EventLoop::new`] says.
    pub fn spawn(name: &str) -> Result<ContextThread, AioError> {
        ContextThread::with_options(name, LoopOptions::default())
    }

    /// As [`spawn`](Self::spawn), with `options` for the loop.
    pub fn with_options(name: &str, options: LoopOptions) -> Result<ContextThread, AioError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (report, reported) = mpsc::channel();
        let run = {
            let (name, stop) = (name.to_owned(), Arc::clone(&stop));
            move || run(&name, options, &stop, &report)
        };
        let thread = thread::Builder::new()
            // The system rejects a name with a NUL in it; the context keeps the name as given.
            .name(name.replace('\0', " "))
            .spawn(run)
            .map_err(|source| AioError::StartThread {
                name: name.to_owned(),
                source,
            })?;
        let context = reported.recv().unwrap_or_else(|_| {
            Err(AioError::ThreadPanicked {
                name: name.to_owned(),
            })
        })?;
        Ok(ContextThread {
            context,
            stop,
            thread: Some(thread),
        })
    }

    /// The context of the thread's loop.
    pub fn context(&self) -> &AioContext {
        &self.context
    }

    /// Ends the thread: the loop runs until its queues are empty, then drops the tasks that are
    /// parked, then the thread ends and is joined (`iothread_stop`).
    ///
    /// # Errors
    /// [`AioError::StopFromItself`] on the thread itself, which then stops unobserved;
    /// [`AioError::ThreadPanicked`] when a bottom half or handler has ended it before.
    pub fn stop(mut self) -> Result<(), AioError> {
        self.stop_and_join()
    }

    fn stop_and_join(&mut self) -> Result<(), AioError> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        self.stop.store(true, Ordering::Release);
        self.context.kick();
        let name = || self.context.name().to_owned();
        if thread.thread().id() == thread::current().id() {
            return Err(AioError::StopFromItself { name: name() });
        }
        thread
            .join()
            .map_err(|_| AioError::ThreadPanicked { name: name() })
    }
}

impl Drop for ContextThread {
    fn drop(&mut self) {
        // A panic of the thread was reported by the panic hook when it happened.
        let _ = self.stop_and_join();
    }
}

impl fmt::Debug for ContextThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ContextThread").field(&self.context).finish()
    }
}

fn run(
    name: &str,
    options: LoopOptions,
    stop: &AtomicBool,
    report: &mpsc::Sender<Result<AioContext, AioError>>,
) {
    let event_loop = match EventLoop::with_options(name, options) {
        Ok(event_loop) => event_loop,
        Err(error) => {
            let _ = report.send(Err(error));
            return;
        }
    };
    let Ok(_entered) = event_loop.enter() else {
        unreachable!("a new thread is on no loop");
    };
    let _ = report.send(Ok(event_loop.context().clone()));
    while !(stop.load(Ordering::Acquire) && event_loop.is_idle()) {
        event_loop.poll(Wait::Until(None));
    }
}
