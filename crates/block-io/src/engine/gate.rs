//! Counting requests in, and shutting them out.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic as plain;
use std::task::{Context, Poll, Waker};

use block_common::sync::{AtomicU64, Mutex, Ordering};
use crossbeam::utils::CachePadded;
use smallvec::SmallVec;

use super::faults::unless;
use super::wake_all::wake_all;
use super::{Faults, NoFaults};

/// The bit of a shard that says "closed". The bits below it count.
const CLOSED: u64 = 1 << 63;

/// One request counted in a [`Gate`].
///
/// A value, not a number: it is made by beginning and used up by ending.
/// Dropping it without [`Gate::end`] leaves the gate busy for ever, which
/// stops drains and breaks nothing.
#[must_use = "a counted request must be ended, or no drain of its root ever completes"]
#[derive(Debug)]
pub struct Count {
    shard: usize,
}

/// A parked request, in the order of arrival.
#[derive(Debug)]
struct Parked {
    shard: usize,
    waker: Waker,
}

#[derive(Debug, Default)]
struct State {
    /// How many reasons there are to keep requests out.
    depth: u32,
    next_ticket: u64,
    parked: BTreeMap<u64, Parked>,
    /// Who waits for the count to reach zero.
    idle: SmallVec<[Waker; 1]>,
}

/// The counter of the requests of one root, and the door in front of it.
///
/// *Begin* counts a request in. *Close* keeps new requests out; after it,
/// [`poll_idle`](Gate::poll_idle) waits until none is left. *Open* lets the
/// parked ones run, already counted (`blk->in_flight`, `quiesce_counter` and
/// `queued_requests` of a `BlockBackend`).
///
/// The count is split into shards, one cache line each, so that iothreads do
/// not fight over it. A shard holds the count *and* the closed bit in one
/// word. One read-modify-write counts a request and learns whether the door
/// was open; there is no second variable to be read in the wrong order.
///
/// Parking, and the decision to park, are one step under the lock that
/// opening takes too. Whoever opens the gate counts the parked requests
/// before it lets go of that lock.
#[derive(Debug)]
pub struct Gate<F: Faults = NoFaults> {
    shards: Box<[CachePadded<AtomicU64>]>,
    state: Mutex<State>,
    faults: PhantomData<fn() -> F>,
}

impl<F: Faults> Gate<F> {
    /// An open gate whose count is split into `shards` parts (at least one).
    pub fn new(shards: usize) -> Self {
        let shard = || CachePadded::new(AtomicU64::new(0));
        Gate {
            shards: (0..shards.max(1)).map(|_| shard()).collect(),
            state: Mutex::default(),
            faults: PhantomData,
        }
    }

    /// Counts a request in, unless the gate is closed.
    ///
    /// `shard` is any number, best [`thread_shard`]; it decides which part of
    /// the counter is used.
    pub fn try_begin(&self, shard: usize) -> Option<Count> {
        let shard = nth_shard(shard, self.shards.len());
        let order = unless(F::BEGIN_WITHOUT_ACQUIRE, Ordering::Acquire);
        if F::TEST_THEN_COUNT {
            if self.shards[shard].load(order) & CLOSED != 0 {
                return None;
            }
            self.shards[shard].fetch_add(1, order);
            return Some(Count { shard });
        }
        let before = self.shards[shard].fetch_add(1, order);
        let count = Count { shard };
        if before & CLOSED == 0 {
            return Some(count);
        }
        self.end(count);
        None
    }

    /// Counts a request in, waiting while the gate is closed. Dropping the
    /// future gives up the place in the queue.
    pub fn begin(&self, shard: usize) -> Begin<'_, F> {
        Begin {
            gate: self,
            ticket: None,
            shard: shard % self.shards.len(),
        }
    }

    /// Counts a request of the one who closed the gate, and who has made sure
    /// that nobody else relies on its being idle.
    pub fn begin_as_owner(&self, shard: usize) -> Count {
        let shard = shard % self.shards.len();
        self.shards[shard].fetch_add(1, Ordering::Acquire);
        Count { shard }
    }

    /// Ends a request. Everything the request did is visible to a drain that
    /// finds the gate idle afterwards.
    pub fn end(&self, count: Count) {
        let order = unless(F::END_WITHOUT_RELEASE, Ordering::Release);
        let before = self.shards[count.shard].fetch_sub(1, order);
        if before == CLOSED | 1 && !F::NO_KICK_AT_ZERO {
            self.wake_idle_waiters();
        }
    }

    /// Ends a request whose last act is `tail`: a section that finds the gate
    /// idle finds the tail done too.
    pub fn end_after(&self, count: Count, tail: impl FnOnce()) {
        if F::END_BEFORE_THE_TAIL {
            self.end(count);
            tail();
        } else {
            tail();
            self.end(count);
        }
    }

    #[cold]
    fn wake_idle_waiters(&self) {
        let mut waiting = std::mem::take(&mut self.state.lock().idle);
        if F::WAKE_ONE_DRAIN {
            waiting.truncate(1);
        }
        wake_all(waiting);
    }

    /// Adds a reason to keep requests out. Returns at once: requests that run
    /// go on, see [`poll_idle`](Gate::poll_idle).
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.depth += 1;
        if state.depth == 1 && !F::CLOSED_AFTER_THE_WAIT {
            self.mark_closed();
        }
    }

    fn mark_closed(&self) {
        for shard in &self.shards {
            shard.fetch_or(CLOSED, Ordering::AcqRel);
            if F::CLOSE_FIRST_SHARD_ONLY {
                break;
            }
        }
    }

    /// Takes one reason away. With the last one the parked requests run, in
    /// the order in which they came. Never waits.
    ///
    /// # Panics
    /// When the gate was not closed.
    pub fn open(&self) {
        let mut state = self.state.lock();
        assert!(state.depth > 0, "a gate is opened as often as it is closed");
        state.depth -= 1;
        if F::DEPTH_IS_A_FLAG {
            state.depth = 0;
        }
        if state.depth > 0 {
            return;
        }
        let order = unless(F::OPEN_WITHOUT_RELEASE, Ordering::Release);
        for shard in &self.shards {
            shard.fetch_and(!CLOSED, order);
        }
        let parked = std::mem::take(&mut state.parked);
        if !F::WOKEN_COUNTS_ITSELF {
            for request in parked.values() {
                self.shards[request.shard].fetch_add(1, Ordering::Acquire);
            }
        }
        let woken = parked.into_values().map(|request| request.waker);
        if F::WAKE_UNDER_LOCK {
            return wake_all(woken);
        }
        drop(state);
        wake_all(woken);
    }

    /// Whether some reason keeps requests out.
    pub fn is_closed(&self) -> bool {
        self.state.lock().depth > 0
    }

    /// How many reasons keep requests out (`quiesce_counter`).
    pub fn depth(&self) -> u32 {
        self.state.lock().depth
    }

    /// How many requests are counted (`in_flight`). A number for information:
    /// requests come and go meanwhile, and one that a closed gate turns away
    /// is counted for a moment too.
    pub fn in_flight(&self) -> u64 {
        let order = unless(F::LOOK_WITHOUT_ACQUIRE, Ordering::Acquire);
        self.shards
            .iter()
            .map(|shard| shard.load(order) & !CLOSED)
            .sum()
    }

    /// Whether no request is counted. A `true` of a closed gate is lasting:
    /// until the gate is opened no request is in flight but those of its
    /// [owner](Gate::begin_as_owner). (A later look may still say `false`,
    /// because a request that the gate turns away is counted for a moment.)
    pub fn is_idle(&self) -> bool {
        self.in_flight() == 0
    }

    /// Ready when no request is counted. Otherwise `cx`'s waker is called
    /// when the last request of a shard ends, in whichever thread that is.
    /// Meant for a closed gate; on an open one nobody calls back.
    pub fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        if F::CLOSED_AFTER_THE_WAIT {
            return self.poll_idle_then_close(cx);
        }
        if self.is_idle() {
            return Poll::Ready(());
        }
        self.register_idle_waiter(cx.waker());
        // A request that ended before the registration has called nobody, so
        // look again. One that ends after this look finds the waker.
        if !F::LOOK_THEN_REGISTER && self.is_idle() {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Only for [`Faults::CLOSED_AFTER_THE_WAIT`].
    fn poll_idle_then_close(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if !self.is_idle() {
                self.register_idle_waiter(cx.waker());
                if !self.is_idle() {
                    return Poll::Pending;
                }
            }
            self.mark_closed();
            if self.is_idle() {
                return Poll::Ready(());
            }
            for shard in &self.shards {
                shard.fetch_and(!CLOSED, Ordering::AcqRel);
            }
        }
    }

    // The code of wakers is not ours and may use this very gate. In the
    // functions below they are cloned before the lock is taken; the lock is
    // declared after them, so that it is released before one is dropped.

    fn register_idle_waiter(&self, waker: &Waker) {
        let waker = waker.clone();
        let mut state = self.state.lock();
        if !state.idle.iter().any(|known| known.will_wake(&waker)) {
            state.idle.push(waker);
        }
    }

    fn poll_begin(
        &self,
        ticket: &mut Option<u64>,
        shard: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Count> {
        if let Some(parked_as) = *ticket {
            let mut waker = cx.waker().clone();
            let mut state = self.state.lock();
            if let Some(parked) = state.parked.get_mut(&parked_as) {
                std::mem::swap(&mut parked.waker, &mut waker);
                if F::WAKER_DROPPED_UNDER_LOCK {
                    drop(waker);
                }
                return Poll::Pending;
            }
            *ticket = None;
            if F::WOKEN_COUNTS_ITSELF {
                self.shards[shard].fetch_add(1, Ordering::Acquire);
            }
            return Poll::Ready(Count { shard });
        }
        if let Some(count) = self.try_begin(shard) {
            return Poll::Ready(count);
        }
        let waker = cx.waker().clone();
        let mut state = self.state.lock();
        // The gate may have been opened since the try; whoever opens it takes
        // this lock, so from here on it cannot be missed.
        if state.depth == 0 && !F::PARK_WITHOUT_RETEST {
            self.shards[shard].fetch_add(1, Ordering::Acquire);
            return Poll::Ready(Count { shard });
        }
        let next = state.next_ticket;
        state.next_ticket += 1;
        state.parked.insert(next, Parked { shard, waker });
        *ticket = Some(next);
        Poll::Pending
    }

    fn give_up(&self, ticket: u64, shard: usize) {
        let parked = self.state.lock().parked.remove(&ticket);
        if parked.is_none() && !F::CANCEL_FORGETS_COUNT {
            // Admitted by whoever opened the gate, but never told.
            self.end(Count { shard });
        }
    }
}

/// A request on its way in: see [`Gate::begin`].
#[must_use = "a request begins when this future is awaited"]
#[derive(Debug)]
pub struct Begin<'g, F: Faults = NoFaults> {
    gate: &'g Gate<F>,
    ticket: Option<u64>,
    shard: usize,
}

impl<F: Faults> Future for Begin<'_, F> {
    type Output = Count;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Count> {
        let this = self.get_mut();
        this.gate.poll_begin(&mut this.ticket, this.shard, cx)
    }
}

impl<F: Faults> Drop for Begin<'_, F> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.give_up(ticket, self.shard);
        }
    }
}

/// Which of `shards` parts a thread uses whose number is `number`. Most numbers
/// are small enough as they are, and a division takes as long as all the rest
/// of counting.
#[inline]
pub fn nth_shard(number: usize, shards: usize) -> usize {
    match number < shards {
        true => number,
        false => number % shards,
    }
}

/// How many shards are of use: as many as threads can run at once, but no more
/// than 16. The system is asked once, because it takes it twenty calls to find
/// out.
pub fn shard_count() -> usize {
    if cfg!(block_loom) {
        // Models must not depend on the machine; those about shards say how
        // many.
        return 1;
    }
    static COUNT: plain::AtomicUsize = plain::AtomicUsize::new(0);
    let known = COUNT.load(plain::Ordering::Relaxed);
    if known > 0 {
        return known;
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let count = threads.min(16);
    COUNT.store(count, plain::Ordering::Relaxed);
    count
}

/// This thread's shard number: threads are numbered as they first ask.
#[inline]
pub fn thread_shard() -> usize {
    static NEXT: plain::AtomicUsize = plain::AtomicUsize::new(0);
    thread_local! {
        static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    SHARD.with(|shard| {
        if shard.get() == usize::MAX {
            shard.set(NEXT.fetch_add(1, plain::Ordering::Relaxed));
        }
        shard.get()
    })
}

#[cfg(all(test, not(block_loom)))]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Rings(AtomicUsize);

    impl Wake for Rings {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn poll_once<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_closed_gate_parks_and_an_opened_one_admits() {
        let gate = Gate::<NoFaults>::new(2);
        gate.close();
        assert!(gate.try_begin(0).is_none());
        let mut first = pin!(gate.begin(0));
        assert!(poll_once(first.as_mut()).is_pending());
        assert!(gate.is_idle(), "a parked request is not in flight");
        gate.open();
        assert_eq!(gate.in_flight(), 1, "counted by the one who opened");
        let Poll::Ready(count) = poll_once(first.as_mut()) else {
            panic!("the gate is open");
        };
        gate.end(count);
        assert!(gate.is_idle());
    }

    #[test]
    fn nested_sections_open_with_the_last() {
        let gate = Gate::<NoFaults>::new(1);
        gate.close();
        gate.close();
        gate.open();
        assert!(gate.try_begin(0).is_none());
        gate.open();
        let count = gate.try_begin(0).expect("open");
        gate.end(count);
    }

    #[test]
    fn the_last_end_wakes_the_drain_once_per_registration() {
        let gate = Gate::<NoFaults>::new(1);
        let rings = Arc::new(Rings::default());
        let waker = Waker::from(Arc::clone(&rings));
        let a = gate.try_begin(0).expect("open");
        let b = gate.try_begin(0).expect("open");
        gate.close();
        assert!(
            gate.poll_idle(&mut Context::from_waker(&waker))
                .is_pending()
        );
        gate.end(a);
        assert_eq!(rings.0.load(SeqCst), 0);
        gate.end(b);
        assert_eq!(rings.0.load(SeqCst), 1);
        assert!(gate.poll_idle(&mut Context::from_waker(&waker)).is_ready());
    }

    #[test]
    fn the_owner_of_a_section_passes_its_own_gate() {
        let gate = Gate::<NoFaults>::new(1);
        gate.close();
        let count = gate.begin_as_owner(0);
        assert!(!gate.is_idle(), "counted like any other request");
        gate.end(count);
        gate.open();
        assert!(gate.is_idle());
    }

    #[test]
    fn giving_up_leaves_the_count_right_before_and_after_admission() {
        let gate = Gate::<NoFaults>::new(1);
        gate.close();
        {
            let mut parked = pin!(gate.begin(0));
            assert!(poll_once(parked.as_mut()).is_pending());
        }
        {
            let mut parked = Box::pin(gate.begin(0));
            assert!(poll_once(parked.as_mut()).is_pending());
            gate.open();
            assert_eq!(gate.in_flight(), 1);
        }
        assert!(gate.is_idle());
    }

    #[test]
    fn threads_have_different_shards() {
        let here = thread_shard();
        let there = std::thread::spawn(thread_shard).join().expect("no panic");
        assert_ne!(here, there);
        assert_eq!(here, thread_shard());
    }
}
