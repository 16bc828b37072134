//! Futures that borrow from the stack of the call that drives them.
//!
//! **Fenced module.** The proof is the call of [`block_on`], which removes the pointer to its
//! future before it returns, however it does. `block_on` takes any future, also one that borrows from the caller and is
//! not `Send`. Its wake-ups go through the loop's queue like all others, because a poll from
//! inside a callback has to drive it too (QEMU's `BDRV_POLL_WHILE` inside a bottom half relies on
//! that). So the loop needs a pointer to something on the stack, whose lifetime it cannot know.
//!
//! Why the pointer never dangles:
//! - It is kept only in [`Scopes`], a table of the loop, hence of this thread. Wakers, which travel
//!   between threads, hold no pointer, only the identity of the scope.
//! - A private guard in the stack frame of [`block_on`] removes it, on return and on unwinding.
//!   User code never gets the guard, so it cannot leak it.
//! - The guard cannot be dropped while the future is being polled: the poll happens in a frame
//!   above the guard's, on the same stack.
//! - While the future is polled the pointer is taken out, so a nested poll cannot enter it twice.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::AioContext;
use super::event_loop::{Local, Wait};
use super::ready::Work;

/// Drives `future` to its end by polling the loop, and calls `each` before every poll.
pub(super) fn block_on<F: Future>(
    local: &Rc<Local>,
    future: F,
    mut each: impl FnMut(),
) -> F::Output {
    let mut future = pin!(future);
    let mut outcome = None;
    let mut step = |cx: &mut Context<'_>| {
        // Caught, because the frame that polls may belong to another `block_on` above this one.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => return false,
            Ok(Poll::Ready(output)) => outcome = Some(Ok(output)),
            Err(panic) => outcome = Some(Err(panic)),
        }
        true
    };
    // Declared after what it points to: dropped first, also when `each` or the poll unwinds.
    let scope = Scope::open(local, &mut step);
    // At once, like a coroutine that is entered: a future that need not wait costs no poll.
    run(local, Arc::clone(&scope.task));
    while !scope.is_finished() {
        each();
        if scope.is_finished() {
            break;
        }
        local.poll(Wait::Until(None));
    }
    drop(scope);
    match outcome.expect("a finished scope has an outcome") {
        Ok(output) => output,
        Err(panic) => resume_unwind(panic),
    }
}

/// Polls the future of a scope once; nothing if the scope is over.
pub(super) fn run(local: &Rc<Local>, task: Arc<ScopedTask>) {
    // Before the poll, so that a wake-up during it queues the task again.
    task.queued.store(false, Ordering::Release);
    let id = Id::of(&task);
    let Some(step) = local.scopes().take_step(id) else {
        return;
    };
    let waker = Waker::from(task);
    // SAFETY: the pointer came from the table, so the frame that owns the closure is alive and
    // below us, and its guard cannot run before we return. We have taken the pointer out, so the
    // closure is not entered twice. It is not touched by its own frame while the guard lives.
    let finished = unsafe { (*step.as_ptr())(&mut Context::from_waker(&waker)) };
    let woken_inside = local.scopes().put_back(id, step, finished);
    if woken_inside {
        waker.wake();
    }
}

type Step<'a> = dyn FnMut(&mut Context<'_>) -> bool + 'a;

/// The scopes of one loop, innermost last.
#[derive(Default)]
pub(super) struct Scopes {
    open: Vec<Entry>,
}

struct Entry {
    id: Id,
    state: State,
}

/// The address of a [`ScopedTask`]; compared, never followed. The scope keeps the task alive for as
/// long as its entry exists, and whoever looks for it has it in hand, so no two share an address.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Id(*const ScopedTask);

impl Id {
    fn of(task: &Arc<ScopedTask>) -> Id {
        Id(Arc::as_ptr(task))
    }
}

enum State {
    Waiting(NonNull<Step<'static>>),
    /// Being polled in a frame above; `again` when it was its turn meanwhile.
    Running {
        again: bool,
    },
    Finished,
}

impl Scopes {
    fn find(&mut self, id: Id) -> Option<&mut State> {
        let mut entries = self.open.iter_mut().rev();
        entries
            .find(|entry| entry.id == id)
            .map(|entry| &mut entry.state)
    }

    fn take_step(&mut self, id: Id) -> Option<NonNull<Step<'static>>> {
        let state = self.find(id)?;
        match state {
            State::Waiting(step) => {
                let step = *step;
                *state = State::Running { again: false };
                Some(step)
            }
            State::Running { again } => {
                *again = true;
                None
            }
            State::Finished => None,
        }
    }

    fn put_back(&mut self, id: Id, step: NonNull<Step<'static>>, finished: bool) -> bool {
        let Some(state) = self.find(id) else {
            return false;
        };
        let woken_inside = matches!(state, State::Running { again: true });
        *state = if finished {
            State::Finished
        } else {
            State::Waiting(step)
        };
        woken_inside && !finished
    }
}

/// Keeps a scope open for the time of one [`block_on`].
struct Scope<'a> {
    local: &'a Rc<Local>,
    task: Arc<ScopedTask>,
}

impl<'a> Scope<'a> {
    fn open(local: &'a Rc<Local>, step: &'a mut Step<'a>) -> Self {
        let task = Arc::new(ScopedTask {
            context: local.context().clone(),
            queued: AtomicBool::new(false),
        });
        let step: NonNull<Step<'a>> = NonNull::from(step);
        // SAFETY: only the lifetime of the pointee changes. The guard made here borrows it for
        // that lifetime and removes the pointer when dropped; see the module's comment.
        let step =
            unsafe { std::mem::transmute::<NonNull<Step<'a>>, NonNull<Step<'static>>>(step) };
        local.scopes().open.push(Entry {
            id: Id::of(&task),
            state: State::Waiting(step),
        });
        Scope { local, task }
    }

    fn is_finished(&self) -> bool {
        matches!(
            self.local.scopes().find(Id::of(&self.task)),
            Some(State::Finished) | None
        )
    }
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        let mut scopes = self.local.scopes();
        let open = &mut scopes.open;
        if let Some(index) = open
            .iter()
            .rposition(|entry| entry.id == Id::of(&self.task))
        {
            open.remove(index);
        }
    }
}

/// The identity of a scope, and its waker.
pub(super) struct ScopedTask {
    context: AioContext,
    queued: AtomicBool,
}

impl Wake for ScopedTask {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.context.submit(Work::Scoped(Arc::clone(self)));
        }
    }
}

impl fmt::Debug for ScopedTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScopedTask").field(&self.context).finish()
    }
}
