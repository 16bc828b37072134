//! What a loop runs, and the queue it takes it from.

use std::collections::VecDeque;
use std::sync::Arc;

use async_task::Runnable;

use super::HomeThread;
use super::scoped::ScopedTask;
use super::slots::Key;
use super::task::TaskMeta;
use super::timer::TimerKey;

/// A bottom half: a closure that runs once, on the loop, outside every coroutine (`QEMUBH`).
pub(super) type BottomHalf = Box<dyn FnOnce(&mut HomeThread<'_>) + Send>;

/// One piece of work for a loop.
pub(super) enum Work {
    BottomHalf(BottomHalf),
    Task(Runnable<TaskMeta>),
    Scoped(Arc<ScopedTask>),
    Upkeep(Upkeep),
}

/// Requests of other threads that concern the tables of the loop and run no foreign code of their
/// own. The loop does them at once when it takes them over.
pub(super) enum Upkeep {
    /// A watched descriptor's registration was dropped.
    ForgetFd(Key),
    /// A `Sleep` was dropped.
    ForgetTimer(TimerKey),
    /// An operation's future is now polled in another context; send the result there.
    ForwardOp(Key),
    /// An operation's future was dropped.
    AbandonOp(Key),
}

/// First in, first out, with a running count, so that a poll can stop where the queue ended when
/// it began, even when nested polls have taken some of it.
pub(super) struct ReadyQueue {
    queue: VecDeque<Work>,
    taken: u64,
}

impl ReadyQueue {
    pub(super) const fn new() -> Self {
        ReadyQueue {
            queue: VecDeque::new(),
            taken: 0,
        }
    }

    pub(super) fn push(&mut self, work: Work) {
        self.queue.push_back(work);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The place after the last item that is queued now.
    pub(super) fn end(&self) -> u64 {
        self.taken + self.queue.len() as u64
    }

    /// The next item, unless it lies at or after `end`.
    pub(super) fn pop_before(&mut self, end: u64) -> Option<Work> {
        if self.taken >= end {
            return None;
        }
        let work = self.queue.pop_front()?;
        self.taken += 1;
        Some(work)
    }
}
