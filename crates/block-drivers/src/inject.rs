//! `inject`: a filter that makes trouble, for tests and soak runs.

use std::array;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use block_common::error::errno;
use block_gs::{BlockDriver, BqlGuard, GraphError, Node, NodeBuilder, NodeOptions, Role};
use block_io::aio::{sleep, yield_now};
use block_io::{
    Capabilities, Destination, DriverIo, IoError, IoFuture, Request, Source, Truncation, WriteFlags,
};

use crate::forward::{AS_THE_CHILD, at_file, forward};
use crate::options::node_options;

/// Hands requests on to the child `file`, and lets some of them fail or take
/// their time, as its [`Injector`] says (in the spirit of `blkdebug.c`, with
/// chances instead of rules).
///
/// All it does could happen with a real device. An injected error is one that
/// comes before the child hears of the request or after it has done it: of a
/// write that fails nobody knows which.
#[derive(Debug)]
pub struct Inject {
    injector: Injector,
}

/// Kinds of requests that can be told to fail.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RequestKind {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Flushes.
    Flush,
    /// Zero writes.
    Zero,
    /// Discards.
    Discard,
    /// Changes of the length.
    Truncate,
}

impl RequestKind {
    /// All of them.
    pub const ALL: [RequestKind; KINDS] = [
        RequestKind::Read,
        RequestKind::Write,
        RequestKind::Flush,
        RequestKind::Zero,
        RequestKind::Discard,
        RequestKind::Truncate,
    ];
}

const KINDS: usize = 6;

/// How often something happens, from never to always.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Chance(u32);

impl Chance {
    /// Never.
    pub const NEVER: Chance = Chance(0);
    /// Each time.
    pub const ALWAYS: Chance = Chance(1 << 31);

    /// So many times of `of`; always if it is not less.
    pub const fn once_in(of: u32) -> Chance {
        match of {
            0 | 1 => Chance::ALWAYS,
            _ => Chance(Chance::ALWAYS.0 / of),
        }
    }

    /// From 0 for never to 1 for always. What is below counts as 0, what is
    /// above as 1, and what is no number as 0.
    pub fn of(probability: f64) -> Chance {
        // The conversion saturates, and takes what is no number for 0.
        let parts = (probability.min(1.0) * f64::from(Chance::ALWAYS.0)).round();
        Chance(if probability.is_nan() {
            0
        } else {
            parts as u32
        })
    }
}

/// What an [`Inject`] node does, to be changed on any thread while requests
/// run. A handle: clones name the same one, and several nodes may share it.
///
/// At first it does nothing; then a request costs one load of an atomic.
/// What happens to a request follows from the seed and from how many came
/// before it, so one thread that does the same again sees the same again.
#[derive(Clone, Debug)]
pub struct Injector(Arc<State>);

/// Each chance is in one word with what belongs to it, so that none is ever
/// seen with what belonged to another.
#[derive(Debug)]
struct State {
    seed: u64,
    requests: AtomicU64,
    active: AtomicBool,
    /// Per kind: a chance above an errno.
    errors: [AtomicU64; KINDS],
    /// A chance above a number of microseconds.
    delay: AtomicU64,
    /// A chance.
    later: AtomicU64,
    counted: Counted,
}

#[derive(Default, Debug)]
struct Counted {
    before: [AtomicU64; KINDS],
    after: [AtomicU64; KINDS],
    delays: AtomicU64,
    later: AtomicU64,
}

/// What an [`Injector`] has done so far. The arrays are in the order of
/// [`RequestKind::ALL`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Injected {
    /// Requests that failed before the child heard of them.
    pub before: [u64; KINDS],
    /// Requests that the child had done when they failed.
    pub after: [u64; KINDS],
    /// Requests that were delayed.
    pub delays: u64,
    /// Requests that completed in a later turn of the event loop.
    pub later: u64,
}

impl Injected {
    /// How many requests of `kind` were made to fail.
    pub fn errors(&self, kind: RequestKind) -> u64 {
        self.before[kind as usize] + self.after[kind as usize]
    }
}

// Relaxed throughout: nothing is concluded from two of the words together.
impl Injector {
    /// One that does nothing yet.
    pub fn new(seed: u64) -> Injector {
        Injector(Arc::new(State {
            seed,
            requests: AtomicU64::new(0),
            active: AtomicBool::new(false),
            errors: Default::default(),
            delay: AtomicU64::new(0),
            later: AtomicU64::new(0),
            counted: Counted::default(),
        }))
    }

    /// Lets requests of `kind` fail with `errno`. It is [`errno::EIO`] if it
    /// is not one of 1 to 4095.
    pub fn set_errors(&self, kind: RequestKind, chance: Chance, errno: i32) {
        let errno = match errno {
            1..=4095 => errno as u32,
            _ => errno::EIO as u32,
        };
        self.0.set(&self.0.errors[kind as usize], chance, errno);
    }

    /// Delays requests by up to `longest`, half of them before the child
    /// hears of them and half after it has done them. It counts in
    /// microseconds, to a little more than an hour.
    pub fn set_delays(&self, chance: Chance, longest: Duration) {
        let micros = u32::try_from(longest.as_micros()).unwrap_or(u32::MAX);
        self.0.set(&self.0.delay, chance, micros);
    }

    /// Lets requests complete in a later turn of the event loop than the
    /// child does.
    pub fn set_later_turns(&self, chance: Chance) {
        self.0.set(&self.0.later, chance, 0);
    }

    /// From now on requests are left alone. Those that are delayed already
    /// take their time, and fail if they were to.
    pub fn stop(&self) {
        let state = &*self.0;
        state.active.store(false, Ordering::Relaxed);
        let errors = state.errors.iter();
        for word in errors.chain([&state.delay, &state.later]) {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// What was done so far, each number by itself.
    pub fn injected(&self) -> Injected {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let counted = &self.0.counted;
        Injected {
            before: array::from_fn(|kind| load(&counted.before[kind])),
            after: array::from_fn(|kind| load(&counted.after[kind])),
            delays: load(&counted.delays),
            later: load(&counted.later),
        }
    }
}

impl State {
    fn set(&self, word: &AtomicU64, chance: Chance, with: u32) {
        let packed = u64::from(chance.0) << 32 | u64::from(with);
        word.store(packed, Ordering::Relaxed);
        if chance > Chance::NEVER {
            self.active.store(true, Ordering::Relaxed);
        }
    }

    /// What is to happen to the next request.
    fn plan(&self, kind: RequestKind) -> Plan {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut random = Random(self.seed ^ Random(number).next());
        // Drawn whether needed or not: what happens to a request does not
        // depend on what else is switched on.
        let mut draw = |word: &AtomicU64| {
            let word = word.load(Ordering::Relaxed);
            let hit = random.next() >> 33 < word >> 32;
            let (part, first) = (random.next() >> 32, random.next() & 1 == 0);
            let when = if first { When::Before } else { When::After };
            hit.then_some((word as u32, part, when))
        };
        let error = draw(&self.errors[kind as usize]);
        let delay = draw(&self.delay);
        let later = draw(&self.later);
        Plan {
            error: error.map(|(errno, _, when)| (errno as i32, when)),
            delay: delay.map(|(longest, part, when)| {
                let micros = (u64::from(longest) * part) >> 32;
                (Duration::from_micros(micros), when)
            }),
            later: later.is_some(),
        }
    }
}

/// When, seen from the child's part of the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    Before,
    After,
}

/// What happens to one request.
#[derive(Debug)]
struct Plan {
    error: Option<(i32, When)>,
    delay: Option<(Duration, When)>,
    later: bool,
}

impl Plan {
    fn is_nothing(&self) -> bool {
        self.error.is_none() && self.delay.is_none() && !self.later
    }

    async fn delay(&self, when: When, counted: &Counted) {
        if let Some((time, _)) = self.delay.filter(|(_, at)| *at == when) {
            counted.delays.fetch_add(1, Ordering::Relaxed);
            sleep(time).await;
        }
    }

    fn fail(
        &self,
        when: When,
        counters: &[AtomicU64; KINDS],
        kind: RequestKind,
    ) -> Result<(), IoError> {
        match self.error {
            Some((errno, at)) if at == when => {
                counters[kind as usize].fetch_add(1, Ordering::Relaxed);
                Err(io::Error::from_raw_os_error(errno).into())
            }
            _ => Ok(()),
        }
    }
}

/// SplitMix64: enough for dice, and one addition a number.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Inject {
    /// A filter over `node`, to be opened. Without an
    /// [injector](InjectOptions::injector) of its own it gets a new one.
    pub fn over(node: &Node) -> InjectOptions {
        InjectOptions {
            file: node.clone(),
            injector: Injector::new(0),
            options: NodeOptions::default(),
        }
    }

    /// What says what it does.
    pub fn injector(&self) -> &Injector {
        &self.injector
    }

    /// Does `run` at the child, and what is to happen before and after.
    fn around<'r, T: Send + Unpin + 'r>(
        &'r self,
        kind: RequestKind,
        run: impl FnOnce() -> IoFuture<'r, T> + Send + 'r,
    ) -> IoFuture<'r, T> {
        let state = &*self.injector.0;
        if !state.active.load(Ordering::Relaxed) {
            return run();
        }
        let plan = state.plan(kind);
        if plan.is_nothing() {
            return run();
        }
        let counted = &state.counted;
        IoFuture::new(async move {
            plan.delay(When::Before, counted).await;
            let done = match plan.fail(When::Before, &counted.before, kind) {
                Ok(()) => run().await,
                Err(error) => Err(error),
            };
            plan.delay(When::After, counted).await;
            if plan.later {
                counted.later.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
            let done = done?;
            plan.fail(When::After, &counted.after, kind)?;
            Ok(done)
        })
    }
}

/// How to open an [`Inject`].
#[derive(Clone, Debug)]
#[must_use = "the node is made by `open`"]
pub struct InjectOptions {
    file: Node,
    injector: Injector,
    options: NodeOptions,
}

impl InjectOptions {
    /// What says what it does.
    pub fn injector(mut self, injector: &Injector) -> Self {
        self.injector = injector.clone();
        self
    }

    node_options!(options, read_only);

    /// Makes the node. Needs the exclusive proof because a new node enters
    /// the graph.
    ///
    /// # Errors
    /// Those of [`NodeBuilder::open`].
    pub fn open(self, bql: &mut BqlGuard, name: &str) -> Result<Node, GraphError> {
        let injector = self.injector;
        NodeBuilder::new(name)
            .options(self.options)
            .child("file", &self.file, Role::FILTERED | Role::PRIMARY)
            .open(bql, Arc::new(Inject { injector }))
    }
}

impl DriverIo for Inject {
    fn capabilities(&self) -> Capabilities {
        AS_THE_CHILD
    }

    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        self.around(RequestKind::Read, move || {
            at_file(request, |file| file.read(offset, into))
        })
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        self.around(RequestKind::Write, move || {
            at_file(request, |file| file.write_with(offset, from, flags))
        })
    }

    fn write_zeroes<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        self.around(RequestKind::Zero, move || {
            at_file(request, |file| file.write_zeroes(offset, bytes, flags))
        })
    }

    fn discard<'r>(&'r self, request: Request<'r>, offset: u64, bytes: u64) -> IoFuture<'r> {
        self.around(RequestKind::Discard, move || {
            at_file(request, |file| file.discard(offset, bytes))
        })
    }

    fn flush<'r>(&'r self, request: Request<'r>) -> IoFuture<'r> {
        self.around(RequestKind::Flush, move || request.flush_layers())
    }

    fn truncate<'r>(&'r self, request: Request<'r>, to: Truncation) -> IoFuture<'r> {
        self.around(RequestKind::Truncate, move || {
            at_file(request, |file| {
                file.truncate(to.length, to.exact, to.preallocation)
            })
        })
    }

    forward!(status_copies_and_length);
}

impl BlockDriver for Inject {
    fn format_name(&self) -> &'static str {
        "inject"
    }

    fn reopens(&self) -> bool {
        true
    }

    fn is_filter(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_met() {
        let injector = Injector::new(7);
        for (chance, expected) in [
            (Chance::NEVER, 0..=0),
            (Chance::once_in(10), 900..=1100),
            (Chance::of(0.75), 7300..=7700),
            (Chance::ALWAYS, 10_000..=10_000),
        ] {
            injector.set_errors(RequestKind::Write, chance, errno::ENOSPC);
            let plans = (0..10_000).map(|_| injector.0.plan(RequestKind::Write));
            let errors: Vec<_> = plans.filter_map(|plan| plan.error).collect();
            assert!(expected.contains(&errors.len()), "{}", errors.len());
            assert!(errors.iter().all(|(errno, _)| *errno == errno::ENOSPC));
            let before = errors.iter().filter(|(_, when)| *when == When::Before);
            let before = before.count();
            assert!(before.abs_diff(errors.len() - before) <= errors.len() / 10 + 1);
        }
        let read = injector.0.plan(RequestKind::Read);
        assert!(read.is_nothing(), "another kind");
    }

    #[test]
    fn impossible_chances_are_never_or_always() {
        assert_eq!(Chance::of(-1.0), Chance::NEVER);
        assert_eq!(Chance::of(f64::NAN), Chance::NEVER);
        assert_eq!(Chance::of(f64::INFINITY), Chance::ALWAYS);
        assert_eq!(Chance::of(1.0), Chance::ALWAYS);
        assert_eq!(Chance::once_in(0), Chance::ALWAYS);
        assert_eq!(Chance::once_in(1), Chance::ALWAYS);
    }

    #[test]
    fn the_same_seed_does_the_same() {
        let plans = |seed| {
            let injector = Injector::new(seed);
            injector.set_errors(RequestKind::Flush, Chance::of(0.3), errno::EIO);
            injector.set_delays(Chance::of(0.3), Duration::from_millis(1));
            injector.set_later_turns(Chance::of(0.3));
            let plans = (0..100).map(|_| injector.0.plan(RequestKind::Flush));
            plans.map(|plan| format!("{plan:?}")).collect::<Vec<_>>()
        };
        assert_eq!(plans(1), plans(1));
        assert_ne!(plans(1), plans(2));
    }

    #[test]
    fn a_delay_is_not_longer_than_the_longest() {
        let injector = Injector::new(3);
        let longest = Duration::from_micros(500);
        injector.set_delays(Chance::ALWAYS, longest);
        let plans = (0..1000).map(|_| injector.0.plan(RequestKind::Read));
        let delays: Vec<_> = plans.filter_map(|plan| plan.delay).collect();
        assert_eq!(delays.len(), 1000);
        assert!(delays.iter().all(|(time, _)| *time < longest));
        assert!(delays.iter().any(|(time, _)| *time > longest / 2));
    }
}
