//! Work that pauses when it is told to.

use std::task::{Context, Poll};

use super::{Count, Faults, Gate, NoFaults};

/// How a parent that works by itself, such as a job, obeys drained sections
/// (`job_pause_point` and the pause counter of a job).
///
/// The work goes in steps. Each [begins](Pause::work) here, which waits while
/// somebody wants a pause, and lasts until its [`Working`] is dropped. Being
/// told to pause never waits; whether the step that was going on is over is
/// asked for by [`poll_paused`](Pause::poll_paused). Each
/// [`pause`](Pause::pause) takes one [`resume`](Pause::resume), and the work
/// goes on after the last.
#[derive(Debug)]
pub struct Pause<F: Faults = NoFaults> {
    gate: Gate<F>,
}

impl<F: Faults> Default for Pause<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Faults> Pause<F> {
    /// Nobody wants a pause.
    pub fn new() -> Self {
        Pause { gate: Gate::new(1) }
    }

    /// Begins a step, waiting while somebody wants a pause.
    pub async fn work(&self) -> Working<'_, F> {
        Working {
            pause: self,
            count: Some(self.gate.begin(0).await),
        }
    }

    /// From now on no step begins. For `drained_begin` of a parent.
    pub fn pause(&self) {
        self.gate.close();
    }

    /// Ready when no step is going on, after which none begins before the
    /// last [`resume`](Pause::resume). Otherwise `cx`'s waker is called when
    /// the step is over. For `drained_poll` of a parent.
    pub fn poll_paused(&self, cx: &mut Context<'_>) -> Poll<()> {
        if F::PAUSED_WHEN_TOLD {
            return Poll::Ready(());
        }
        self.gate.poll_idle(cx)
    }

    /// Takes one [`pause`](Pause::pause) back. For `drained_end` of a parent.
    ///
    /// # Panics
    /// When there was none.
    pub fn resume(&self) {
        self.gate.open();
    }

    /// How many want a pause (`job->pause_count`).
    pub fn count(&self) -> u32 {
        self.gate.depth()
    }
}

/// A step of the work; over when this is dropped.
#[must_use = "the step is over when this is dropped"]
#[derive(Debug)]
pub struct Working<'p, F: Faults = NoFaults> {
    pause: &'p Pause<F>,
    count: Option<Count>,
}

impl<F: Faults> Drop for Working<'_, F> {
    fn drop(&mut self) {
        if let Some(count) = self.count.take() {
            self.pause.gate.end(count);
        }
    }
}

#[cfg(all(test, not(block_loom)))]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_step_that_runs_is_waited_for_and_the_next_waits() {
        let pause: Pause = Pause::new();
        let cx = &mut Context::from_waker(Waker::noop());
        let Poll::Ready(step) = pin!(pause.work()).poll(cx) else {
            panic!("nobody wants a pause");
        };
        pause.pause();
        assert!(pause.poll_paused(cx).is_pending());
        drop(step);
        assert!(pause.poll_paused(cx).is_ready());
        let mut next = pin!(pause.work());
        assert!(next.as_mut().poll(cx).is_pending());
        pause.pause();
        pause.resume();
        assert!(next.as_mut().poll(cx).is_pending(), "two have asked");
        assert_eq!(pause.count(), 1);
        pause.resume();
        assert!(next.as_mut().poll(cx).is_ready());
    }
}
