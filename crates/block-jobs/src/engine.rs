//! What a job's code and the main loop share: when to rest, to go on, to end.
//!
//! The code of a job runs in the loop of its AioContext; the main loop pauses
//! it, wakes it from its sleep and cancels it. Drained sections wait for
//! [`Pause`], the same machine that every parent which works in steps has; the
//! job's code holds a step of it whenever it may touch anything. What comes to
//! it here is a state. [`Rest`] is how the code sleeps.
//!
//! A step ends, and a section that waits for it may open, only after the state
//! says [`Paused`](JobStatus::Paused). A lock is held for a few assignments
//! and never while [`Pause`] or [`Rest`] is asked.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use block_common::sync::{Mutex, MutexGuard};
use block_io::engine::{Pause, Rest, Working};

use crate::JobStatus;

/// Whoever tells the world of a change of state.
pub(crate) trait Tell: Sync {
    /// Notes a change, under the lock: so notes come in the order of the
    /// changes.
    fn note(&self, status: JobStatus);

    /// Passes on what was noted. No lock is held.
    fn announce(&self);
}

/// How far somebody wants a job to end early.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Cancel {
    /// Nobody does.
    No,
    /// It may finish what it likes (`job->cancelled`).
    Soft,
    /// It ends, and whatever it did is undone (`job->force_cancel`).
    Force,
}

#[derive(Debug)]
struct State {
    status: JobStatus,
    cancel: Cancel,
    /// One of the reasons to pause is that the user wants it.
    user_paused: bool,
    /// The code runs, or could.
    busy: bool,
    /// The job was started, and its code has not come to its first pause
    /// point.
    entering: bool,
    /// The code has ended (`job->deferred_to_main_loop`).
    returned: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Engine {
    pause: Pause,
    rest: Rest,
    state: Mutex<State>,
}

impl Engine {
    /// Of a job that was not started, which is a reason to pause.
    pub fn new() -> Self {
        let pause = Pause::new();
        pause.pause();
        Engine {
            pause,
            rest: Rest::new(),
            state: Mutex::new(State {
                status: JobStatus::Undefined,
                cancel: Cancel::No,
                user_paused: false,
                busy: false,
                entering: false,
                returned: false,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub fn status(&self) -> JobStatus {
        self.state().status
    }

    /// Whether the code runs, or could (`job->busy`).
    pub fn is_busy(&self) -> bool {
        self.state().busy
    }

    pub fn is_user_paused(&self) -> bool {
        self.state().user_paused
    }

    pub fn cancel_state(&self) -> Cancel {
        self.state().cancel
    }

    pub fn has_returned(&self) -> bool {
        self.state().returned
    }

    /// How many reasons there are to pause (`job->pause_count`).
    pub fn pause_count(&self) -> u32 {
        self.pause.count()
    }

    /// Another state; `tell` hears of it before anybody can act on it.
    ///
    /// # Panics
    /// When no job goes from the one to the other.
    pub fn become_(&self, next: JobStatus, tell: impl FnOnce(JobStatus)) {
        become_in(&mut self.state(), next, tell);
    }

    /// From created to running, unless it is over already
    /// (`job_start`).
    pub fn start(&self, tell: impl FnOnce(JobStatus)) -> bool {
        let mut state = self.state();
        if state.status != JobStatus::Created || state.cancel == Cancel::Force {
            return false;
        }
        state.busy = true;
        state.entering = true;
        become_in(&mut state, JobStatus::Running, tell);
        drop(state);
        self.pause.resume();
        true
    }

    /// One more reason to pause. The code goes to rest at its next pause
    /// point, from its sleep too (`job_pause_locked`).
    pub fn pause(&self) {
        self.pause.pause();
        self.rest.wake();
    }

    /// One reason less (`job_resume_locked`).
    pub fn resume(&self) {
        self.pause.resume();
    }

    /// Whether no step is going on, see [`Pause::poll_paused`], nor is about
    /// to: that the code comes to its first pause point is announced.
    pub fn poll_paused(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.state().entering {
            return Poll::Pending;
        }
        self.pause.poll_paused(cx)
    }

    /// Pauses in the user's name. `false` when that was so already.
    pub fn pause_for_user(&self) -> bool {
        // The reason first: whoever sees the mark may take it back.
        self.pause.pause();
        let before = std::mem::replace(&mut self.state().user_paused, true);
        if before {
            self.pause.resume();
        } else {
            self.rest.wake();
        }
        !before
    }

    /// Takes the user's reason back. `false` when there was none.
    pub fn resume_for_user(&self) -> bool {
        let before = std::mem::replace(&mut self.state().user_paused, false);
        if before {
            self.pause.resume();
        }
        before
    }

    /// Ends the present rest, or the next (`job_enter`).
    pub fn kick(&self) {
        self.rest.kick();
    }

    /// Wants the job to end early. Without `force` this comes too late for a
    /// job whose code has ended. Wakes nobody, see [`kick`](Engine::kick).
    pub fn cancel(&self, force: bool) {
        let mut state = self.state();
        if force {
            state.cancel = Cancel::Force;
        } else if !state.returned {
            state.cancel = state.cancel.max(Cancel::Soft);
        }
    }

    /// Notes that the code has ended.
    pub fn returned(&self) {
        let mut state = self.state();
        state.returned = true;
        state.busy = true;
    }

    /// Notes that the main loop has taken over from the code.
    pub fn rests_for_good(&self) {
        self.state().busy = false;
    }
}

/// For the job's code.
impl Engine {
    pub fn is_cancelled(&self) -> bool {
        self.cancel_state() == Cancel::Force
    }

    /// Whether the next pause point will pause.
    pub fn should_pause(&self) -> bool {
        self.pause.count() > 0 && !self.is_cancelled()
    }

    /// The next step, as soon as nobody wants a pause; or none for a job that
    /// is cancelled, which nothing keeps from ending. While it waits the state
    /// is that of a pause.
    pub async fn step(&self, tell: &impl Tell) -> Option<Working<'_>> {
        let mut work = pin!(self.pause.work());
        let step = poll_fn(|cx| {
            self.rest.leave(cx);
            if self.is_cancelled() {
                return Poll::Ready(None);
            }
            match work.as_mut().poll(cx) {
                Poll::Ready(step) => Poll::Ready(Some(step)),
                Poll::Pending => {
                    self.show_pause(tell);
                    Poll::Pending
                }
            }
        });
        let step = step.await;
        self.show_work(tell);
        step
    }

    /// Ends `step` and waits for the next, see [`step`](Engine::step).
    pub async fn next_step<'e>(
        &'e self,
        step: Option<Working<'e>>,
        tell: &impl Tell,
    ) -> Option<Working<'e>> {
        // Whoever waits for the end of the step finds the job paused.
        self.show_pause(tell);
        drop(step);
        self.step(tell).await
    }

    /// Rests until `end`, or until somebody wants something of the job.
    pub async fn rest(&self, end: impl Future<Output = ()>) {
        self.state().busy = false;
        let stop = || self.pause.count() > 0 || self.is_cancelled();
        self.rest.rest(stop, end).await;
        self.state().busy = true;
    }

    fn show_pause(&self, tell: &impl Tell) {
        let mut state = self.state();
        state.busy = false;
        state.entering = false;
        let paused = match state.status {
            JobStatus::Running => JobStatus::Paused,
            JobStatus::Ready => JobStatus::Standby,
            _ => return,
        };
        become_in(&mut state, paused, |status| tell.note(status));
        drop(state);
        tell.announce();
    }

    fn show_work(&self, tell: &impl Tell) {
        let mut state = self.state();
        state.busy = true;
        let entered = std::mem::take(&mut state.entering);
        let worked = match state.status {
            JobStatus::Paused => Some(JobStatus::Running),
            JobStatus::Standby => Some(JobStatus::Ready),
            _ => None,
        };
        if let Some(status) = worked {
            become_in(&mut state, status, |status| tell.note(status));
        }
        drop(state);
        if entered || worked.is_some() {
            tell.announce();
        }
    }
}

fn become_in(state: &mut State, next: JobStatus, tell: impl FnOnce(JobStatus)) {
    let before = state.status;
    assert!(
        before.may_become(next),
        "a job goes from {before} to {next}"
    );
    state.status = next;
    if before != next {
        tell(next);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::task::Waker;

    use super::*;

    fn running() -> Engine {
        let engine = Engine::new();
        engine.become_(JobStatus::Created, |_| ());
        assert!(engine.start(|_| ()));
        engine
    }

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    struct Quiet;

    impl Tell for Quiet {
        fn note(&self, _: JobStatus) {}
        fn announce(&self) {}
    }

    #[test]
    fn a_step_ends_after_the_state_says_so() {
        let engine = running();
        let Poll::Ready(step) = poll(pin!(engine.step(&Quiet))) else {
            panic!("nobody wants a pause");
        };
        engine.pause();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(engine.poll_paused(cx).is_pending());
        assert!(engine.should_pause());
        let mut next = pin!(engine.next_step(step, &Quiet));
        assert!(poll(next.as_mut()).is_pending());
        assert!(engine.poll_paused(cx).is_ready());
        assert_eq!(engine.status(), JobStatus::Paused);
        assert!(!engine.is_busy());
        engine.resume();
        assert!(matches!(poll(next.as_mut()), Poll::Ready(Some(_))));
        assert_eq!(engine.status(), JobStatus::Running);
    }

    #[test]
    fn a_pause_ends_a_rest_and_a_kick_is_not_lost() {
        let engine = running();
        let mut rest = pin!(engine.rest(std::future::pending()));
        assert!(poll(rest.as_mut()).is_pending());
        assert!(!engine.is_busy());
        engine.pause();
        assert!(poll(rest.as_mut()).is_ready());
        engine.resume();
        engine.kick();
        assert!(poll(pin!(engine.rest(std::future::pending()))).is_ready());
        assert!(poll(pin!(engine.rest(std::future::pending()))).is_pending());
    }

    #[test]
    fn nothing_keeps_a_cancelled_job_from_ending() {
        let engine = running();
        let Poll::Ready(step) = poll(pin!(engine.step(&Quiet))) else {
            panic!("nobody wants a pause");
        };
        engine.pause();
        let mut next = pin!(engine.next_step(step, &Quiet));
        assert!(poll(next.as_mut()).is_pending());
        engine.cancel(true);
        assert!(matches!(poll(next.as_mut()), Poll::Ready(None)));
        assert!(!engine.should_pause());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(engine.poll_paused(cx).is_ready(), "it holds no step");
        engine.resume();
    }

    #[test]
    fn a_soft_cancel_comes_too_late_for_code_that_has_ended() {
        let engine = running();
        engine.returned();
        engine.cancel(false);
        assert_eq!(engine.cancel_state(), Cancel::No);
        engine.cancel(true);
        engine.cancel(false);
        assert_eq!(engine.cancel_state(), Cancel::Force);
    }

    #[test]
    fn the_user_is_one_reason_to_pause() {
        let engine = running();
        assert!(engine.pause_for_user());
        assert!(!engine.pause_for_user());
        assert_eq!(engine.pause_count(), 1);
        assert!(engine.resume_for_user());
        assert!(!engine.resume_for_user());
        assert_eq!(engine.pause_count(), 0);
    }

    #[test]
    fn changes_are_told_once_and_repetitions_not() {
        let told = RefCell::new(Vec::new());
        let engine = Engine::new();
        let tell = |status| told.borrow_mut().push(status);
        engine.become_(JobStatus::Created, tell);
        engine.become_(JobStatus::Aborting, tell);
        engine.become_(JobStatus::Aborting, tell);
        assert_eq!(*told.borrow(), [JobStatus::Created, JobStatus::Aborting]);
    }
}
