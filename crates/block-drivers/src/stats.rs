//! `stats`: a filter that counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use block_gs::{BlockDriver, BqlGuard, GraphError, Node, NodeBuilder, NodeOptions, Role};
use block_io::engine::{nth_shard, shard_count, thread_shard};
use block_io::{
    Capabilities, Destination, DriverIo, IoError, IoFuture, Request, Source, WriteFlags,
};

use crate::forward::{AS_THE_CHILD, at_file, forward};
use crate::options::node_options;

/// Hands every request on to the child `file` and counts it
/// (`BlockAcctStats`, as a node that can be put anywhere).
///
/// The counters are plain atomics: they belong to no half, so neither needs a
/// proof to touch them. Each thread has its own cache lines.
#[derive(Debug)]
pub struct Stats {
    shards: Box<[Shard]>,
}

/// What a [`Stats`] has counted since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Reads.
    pub reads: Tally,
    /// Writes, of zeroes too.
    pub writes: Tally,
    /// Discards.
    pub discards: Tally,
    /// Flushes.
    pub flushes: Tally,
}

/// The counters of one kind of request. A request that is cancelled counts as
/// begun and as nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// How many have begun.
    pub requests: u64,
    /// How many bytes those have moved that succeeded.
    pub bytes: u64,
    /// How many have failed.
    pub errors: u64,
}

/// Two cache lines to itself: processors fetch them in pairs.
#[repr(align(128))]
#[derive(Default, Debug)]
struct Shard {
    reads: AtomicTally,
    writes: AtomicTally,
    discards: AtomicTally,
    flushes: AtomicTally,
}

#[derive(Default, Debug)]
struct AtomicTally {
    requests: AtomicU64,
    bytes: AtomicU64,
    errors: AtomicU64,
}

// Relaxed throughout: each number is right, and nothing is concluded from two
// of them together.
impl AtomicTally {
    fn begin(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn end(&self, bytes: u64, outcome: &Result<(), IoError>) {
        match outcome {
            Ok(()) => self.bytes.fetch_add(bytes, Ordering::Relaxed),
            Err(_) => self.errors.fetch_add(1, Ordering::Relaxed),
        };
    }

    /// Counts the end of a request: on the spot if it is over, else with one
    /// allocation.
    #[inline]
    fn watch<'r>(&'r self, bytes: u64, outcome: IoFuture<'r>) -> IoFuture<'r> {
        match outcome.into_ready() {
            Ok(outcome) => {
                self.end(bytes, &outcome);
                IoFuture::ready(outcome)
            }
            Err(running) => IoFuture::new(async move {
                let outcome = running.await;
                self.end(bytes, &outcome);
                outcome
            }),
        }
    }

    fn add_to(&self, sum: &mut Tally) {
        sum.requests += self.requests.load(Ordering::Relaxed);
        sum.bytes += self.bytes.load(Ordering::Relaxed);
        sum.errors += self.errors.load(Ordering::Relaxed);
    }
}

impl Stats {
    /// A filter over `node`, to be opened.
    pub fn over(node: &Node) -> StatsOptions {
        StatsOptions {
            file: node.clone(),
            options: NodeOptions::default(),
        }
    }

    /// What has been counted. Needs no proof, and takes no snapshot: requests
    /// that run meanwhile are in it or not, each number by itself.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for shard in &self.shards {
            shard.reads.add_to(&mut sum.reads);
            shard.writes.add_to(&mut sum.writes);
            shard.discards.add_to(&mut sum.discards);
            shard.flushes.add_to(&mut sum.flushes);
        }
        sum
    }

    fn shard(&self) -> &Shard {
        &self.shards[nth_shard(thread_shard(), self.shards.len())]
    }
}

/// How to open a [`Stats`].
#[derive(Clone, Debug)]
#[must_use = "the node is made by `open`"]
pub struct StatsOptions {
    file: Node,
    options: NodeOptions,
}

impl StatsOptions {
    node_options!(options, read_only);

    /// Makes the node. Needs the exclusive proof because a new node enters
    /// the graph.
    ///
    /// # Errors
    /// Those of [`NodeBuilder::open`].
    pub fn open(self, bql: &mut BqlGuard, name: &str) -> Result<Node, GraphError> {
        let shards = (0..shard_count()).map(|_| Shard::default()).collect();
        NodeBuilder::new(name)
            .options(self.options)
            .child("file", &self.file, Role::FILTERED | Role::PRIMARY)
            .open(bql, Arc::new(Stats { shards }))
    }
}

impl DriverIo for Stats {
    fn capabilities(&self) -> Capabilities {
        AS_THE_CHILD
    }

    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        let (tally, bytes) = (&self.shard().reads, into.len() as u64);
        tally.begin();
        tally.watch(bytes, at_file(request, |file| file.read(offset, into)))
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let (tally, bytes) = (&self.shard().writes, from.len() as u64);
        tally.begin();
        let written = at_file(request, |file| file.write_with(offset, from, flags));
        tally.watch(bytes, written)
    }

    /// A zero write is a write: the guest sees no difference.
    fn write_zeroes<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        let tally = &self.shard().writes;
        tally.begin();
        let written = at_file(request, |file| file.write_zeroes(offset, bytes, flags));
        tally.watch(bytes, written)
    }

    fn discard<'r>(&'r self, request: Request<'r>, offset: u64, bytes: u64) -> IoFuture<'r> {
        let tally = &self.shard().discards;
        tally.begin();
        tally.watch(bytes, at_file(request, |file| file.discard(offset, bytes)))
    }

    fn flush<'r>(&'r self, request: Request<'r>) -> IoFuture<'r> {
        let tally = &self.shard().flushes;
        tally.begin();
        tally.watch(0, request.flush_layers())
    }

    forward!(the_rest);
}

impl BlockDriver for Stats {
    fn format_name(&self) -> &'static str {
        "stats"
    }

    fn reopens(&self) -> bool {
        true
    }

    fn is_filter(&self) -> bool {
        true
    }
}
