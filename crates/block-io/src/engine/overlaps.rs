//! Which requests of a node overlap, and which must wait.

use std::future::Future;
use std::marker::PhantomData;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use block_common::sync::{AtomicU32, Mutex, Ordering};
use smallvec::SmallVec;

use super::wake_all::wake_all;
use super::{Faults, NoFaults};

/// The requests in flight at one node, by the bytes they touch
/// (`bs->tracked_requests`).
///
/// Two of them *conflict* when their ranges have a byte in common and one of
/// them is *serialising*. A request waits for every conflicting one that came
/// before it and for none that came after, so waits follow the order of
/// arrival and cannot form a cycle. (QEMU lets a request become serialising
/// late and then has to break cycles.) What a request will be is known when it
/// enters, and does not change.
///
/// Only nodes that can have serialising requests ask here at all. On others
/// a write that was cancelled, and may still reach the disk, is entered
/// [afterwards](Overlaps::force): then [`is_quiet`](Overlaps::is_quiet), one
/// load, says that requests have to ask.
#[derive(Debug)]
pub struct Overlaps<F: Faults = NoFaults> {
    /// How many entries are serialising.
    serialising: AtomicU32,
    state: Mutex<State>,
    faults: PhantomData<fn() -> F>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// By ticket.
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    ticket: u64,
    range: Range<u64>,
    serialising: bool,
    /// Under way since before it was entered.
    forced: bool,
    /// How many entries it waits for: earlier ones, and forced ones.
    blockers: u32,
    waker: Option<Waker>,
}

impl Entry {
    fn conflicts_with(&self, range: &Range<u64>, serialising: bool) -> bool {
        (self.serialising || serialising)
            && self.range.start < range.end
            && range.start < self.range.end
    }
}

impl State {
    fn blockers<F: Faults>(&self, range: &Range<u64>, serialising: bool) -> u32 {
        let conflicting = |entry: &&Entry| {
            entry.conflicts_with(range, serialising)
                && !(F::WAITERS_ARE_OVERTAKEN && entry.blockers > 0)
        };
        self.entries.iter().filter(conflicting).count() as u32
    }

    fn position(&self, ticket: u64) -> usize {
        self.entries
            .binary_search_by_key(&ticket, |entry| entry.ticket)
            .expect("an entry stays until its ticket is given back")
    }
}

impl<F: Faults> Default for Overlaps<F> {
    fn default() -> Self {
        Overlaps::new()
    }
}

impl<F: Faults> Overlaps<F> {
    /// Nothing in flight.
    pub fn new() -> Self {
        Overlaps {
            serialising: AtomicU32::new(0),
            state: Mutex::default(),
            faults: PhantomData,
        }
    }

    /// Whether no entry is serialising: then a request that is not so itself
    /// conflicts with nothing.
    pub fn is_quiet(&self) -> bool {
        self.serialising.load(Ordering::Acquire) == 0
    }

    fn insert(
        &self,
        state: &mut State,
        range: Range<u64>,
        serialising: bool,
        forced: bool,
        blockers: u32,
    ) -> u64 {
        let ticket = state.next;
        state.next += 1;
        if serialising && !F::LINGERING_UNSEEN {
            self.serialising.fetch_add(1, Ordering::Release);
        }
        state.entries.push(Entry {
            ticket,
            range,
            serialising,
            forced,
            blockers,
            waker: None,
        });
        ticket
    }

    /// Enters a request, unless it would have to wait.
    pub fn try_enter(&self, range: Range<u64>, serialising: bool) -> Option<Entered<'_, F>> {
        let mut state = self.state.lock();
        if state.blockers::<F>(&range, serialising) > 0 {
            return None;
        }
        let ticket = self.insert(&mut state, range, serialising, false, 0);
        Some(Entered {
            overlaps: self,
            ticket,
        })
    }

    /// Enters a request. The future is ready when nothing that came before
    /// conflicts any more; later requests wait for this one from now on.
    pub fn enter(&self, range: Range<u64>, serialising: bool) -> Enter<'_, F> {
        let mut state = self.state.lock();
        let blockers = state.blockers::<F>(&range, serialising);
        let ticket = self.insert(&mut state, range, serialising, false, blockers);
        Enter(Some(Entered {
            overlaps: self,
            ticket,
        }))
    }

    /// Enters something that is under way already, as a serialising entry
    /// that waits for nothing. Not only later requests wait for it but also
    /// those that are waiting now: what they wait for may be the request of
    /// which this is left, and when that leaves they would go ahead. To be
    /// given back by [`leave`](Overlaps::leave).
    #[must_use = "later requests wait until the ticket is given back"]
    pub fn force(&self, range: Range<u64>) -> Ticket {
        let mut state = self.state.lock();
        for waiting in state.entries.iter_mut().filter(|entry| entry.blockers > 0) {
            if !F::LINGERING_OVERTAKEN {
                waiting.blockers += u32::from(waiting.conflicts_with(&range, true));
            }
        }
        Ticket(self.insert(&mut state, range, true, true, 0))
    }

    /// Takes back what [`force`](Overlaps::force) entered.
    pub fn leave(&self, ticket: Ticket) {
        self.remove(ticket.0);
    }

    fn remove(&self, ticket: u64) {
        let mut woken: SmallVec<[Waker; 4]> = SmallVec::new();
        let mut state = self.state.lock();
        let at = state.position(ticket);
        let gone = state.entries.remove(at);
        let others = self.serialising.load(Ordering::Relaxed);
        if others > 0 && !F::LEAVE_WAKES_NOBODY {
            // Of the entries before a forced one, those that still wait are
            // those that waited when it came.
            let first = if gone.forced { 0 } else { at };
            for other in &mut state.entries[first..] {
                if other.blockers > 0 && other.conflicts_with(&gone.range, gone.serialising) {
                    other.blockers -= 1;
                    if other.blockers == 0 {
                        woken.extend(other.waker.take());
                    }
                }
            }
        }
        if gone.serialising && !F::LINGERING_UNSEEN {
            self.serialising.fetch_sub(1, Ordering::Release);
        }
        drop(state);
        // Their code is not ours and may come back to this very lock.
        drop(gone);
        wake_all(woken);
    }
}

/// An entry that was [forced](Overlaps::force).
#[derive(Debug)]
pub struct Ticket(u64);

/// A request that is entered; it leaves when this is dropped.
#[must_use = "the request leaves when this is dropped"]
#[derive(Debug)]
pub struct Entered<'o, F: Faults = NoFaults> {
    overlaps: &'o Overlaps<F>,
    ticket: u64,
}

impl<F: Faults> Drop for Entered<'_, F> {
    fn drop(&mut self) {
        self.overlaps.remove(self.ticket);
    }
}

/// A request that has entered and may have to wait; see
/// [`Overlaps::enter`].
#[must_use = "the request waits when this is awaited"]
#[derive(Debug)]
pub struct Enter<'o, F: Faults = NoFaults>(Option<Entered<'o, F>>);

impl<F: Faults> Drop for Enter<'_, F> {
    fn drop(&mut self) {
        if F::GIVING_UP_STAYS {
            std::mem::forget(self.0.take());
        }
    }
}

impl<'o, F: Faults> Future for Enter<'o, F> {
    type Output = Entered<'o, F>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Entered<'o, F>> {
        let entered = self.0.take().expect("not polled after it was ready");
        // Wakers are cloned before the lock is taken and dropped after it.
        let waker = cx.waker().clone();
        let mut state = entered.overlaps.state.lock();
        let at = state.position(entered.ticket);
        let entry = &mut state.entries[at];
        let waits = entry.blockers > 0;
        let mut unused = match waits {
            true => entry.waker.replace(waker),
            false => entry.waker.take(),
        };
        if F::REPLACED_UNDER_LOCK {
            unused = None;
        }
        drop(state);
        drop(unused);
        if !waits {
            return Poll::Ready(entered);
        }
        self.0 = Some(entered);
        Poll::Pending
    }
}

#[cfg(all(test, not(block_loom)))]
mod tests {
    use std::pin::pin;

    use super::*;

    fn poll<'o>(enter: Pin<&mut Enter<'o>>) -> Poll<Entered<'o>> {
        enter.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn only_overlaps_with_a_serialising_request_wait() {
        let overlaps: Overlaps = Overlaps::new();
        let plain = overlaps.try_enter(0..10, false).expect("alone");
        let other = overlaps
            .try_enter(5..15, false)
            .expect("neither serialises");
        assert!(overlaps.is_quiet());
        assert!(overlaps.try_enter(14..20, true).is_none());
        let apart = overlaps
            .try_enter(15..20, true)
            .expect("ranges are half open");
        assert!(!overlaps.is_quiet());
        assert!(overlaps.try_enter(19..30, false).is_none());
        drop((plain, other, apart));
        assert!(overlaps.is_quiet());
    }

    #[test]
    fn waits_follow_the_order_of_arrival() {
        let overlaps: Overlaps = Overlaps::new();
        let first = overlaps.try_enter(0..10, false).expect("alone");
        let mut second = pin!(overlaps.enter(5..15, true));
        let mut third = pin!(overlaps.enter(12..20, false));
        assert!(poll(second.as_mut()).is_pending());
        assert!(
            poll(third.as_mut()).is_pending(),
            "it came after the second"
        );
        drop(first);
        let Poll::Ready(second) = poll(second.as_mut()) else {
            panic!("nothing before it is left");
        };
        assert!(poll(third.as_mut()).is_pending());
        drop(second);
        assert!(poll(third.as_mut()).is_ready());
    }

    #[test]
    fn one_that_gives_up_lets_the_next_go() {
        let overlaps: Overlaps = Overlaps::new();
        let first = overlaps.try_enter(0..10, true).expect("alone");
        let mut third = {
            let mut second = pin!(overlaps.enter(0..20, true));
            assert!(poll(second.as_mut()).is_pending());
            Box::pin(overlaps.enter(15..20, false))
        };
        let Poll::Ready(third) = poll(third.as_mut()) else {
            panic!("only the second, which gave up, was in the way");
        };
        drop((first, third));
        assert!(overlaps.is_quiet());
        assert!(overlaps.state.lock().entries.is_empty());
    }

    #[test]
    fn what_is_under_way_waits_for_nothing_and_is_waited_for() {
        let overlaps: Overlaps = Overlaps::new();
        let first = overlaps.try_enter(0..10, true).expect("alone");
        let ticket = overlaps.force(5..20);
        drop(first);
        let mut later = pin!(overlaps.enter(10..12, false));
        assert!(poll(later.as_mut()).is_pending());
        overlaps.leave(ticket);
        assert!(poll(later.as_mut()).is_ready());
    }

    #[test]
    fn who_waited_for_a_request_waits_for_what_is_left_of_it() {
        let overlaps = Overlaps::new();
        let dropped = overlaps.try_enter(0..10, false).expect("alone");
        let mut waiting = pin!(overlaps.enter(5..15, true));
        assert!(poll(waiting.as_mut()).is_pending());
        let mut apart = pin!(overlaps.enter(12..20, false));
        assert!(poll(apart.as_mut()).is_pending());
        let ticket = overlaps.force(0..10);
        drop(dropped);
        assert!(poll(waiting.as_mut()).is_pending());
        overlaps.leave(ticket);
        let Poll::Ready(entered) = poll(waiting.as_mut()) else {
            panic!("nothing is left of the first");
        };
        assert!(poll(apart.as_mut()).is_pending());
        drop(entered);
        assert!(poll(apart.as_mut()).is_ready());
        assert!(overlaps.is_quiet());
    }

    #[test]
    fn who_waits_for_a_request_waits_for_what_it_leaves_behind() {
        let overlaps: Overlaps = Overlaps::new();
        let dropped = overlaps.try_enter(0..10, true).expect("alone");
        let running = overlaps.try_enter(10..20, false).expect("apart");
        let mut waiting = pin!(overlaps.enter(5..15, true));
        assert!(poll(waiting.as_mut()).is_pending());
        let ticket = overlaps.force(0..10);
        drop(dropped);
        drop(running);
        assert!(poll(waiting.as_mut()).is_pending());
        overlaps.leave(ticket);
        let Poll::Ready(waited) = poll(waiting.as_mut()) else {
            panic!("nothing is left to wait for");
        };
        // One that has given up meanwhile is not missed.
        let mut gives_up = Box::pin(overlaps.enter(0..20, false));
        assert!(poll(gives_up.as_mut()).is_pending());
        let ticket = overlaps.force(0..20);
        drop((waited, gives_up));
        overlaps.leave(ticket);
        assert!(overlaps.is_quiet());
        assert!(overlaps.state.lock().entries.is_empty());
    }
}
