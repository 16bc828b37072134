//! What the main thread does to the graph: one random step after the other.
//!
//! Each step notes in the journal what it is about to do, does it under the
//! drained section that licenses it, and checks what the block layer promised
//! about it. Steps hold owned handles only: whatever is borrowed from the
//! graph cannot be kept across a drain, so each looks again.

mod chain;
mod deletion;
mod files;
mod filters;
mod formats;
mod homes;
mod refusals;
mod sections;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use block_gs::{BqlGuard, GraphError, Node, NodeView};
use block_io::{Buffer, Request};
use block_open::OpenError;

use super::failure::Failure;
use super::graph::{Disk, World};
use super::load::Contents;
use super::rng::Rng;
use super::watch::{Kind, Watch};
use crate::draw::Snapshot;

/// The pause between two steps is below this, in microseconds.
const PACE: u64 = 3000;

/// The step at which a byte is spoilt, if one is.
const SPOIL_AT: u64 = 40;

/// What a step of the main thread comes to.
type Outcome = Result<Kind, Failure>;

/// Makes the changes.
#[derive(Debug)]
pub struct Changer {
    /// The graph.
    pub world: World,
    /// A picture from inside a drained section.
    pub during: Option<Snapshot>,
    /// One from inside a section in which the chain is cut short, and of how
    /// many images it was: the most there have been.
    pub chain_picture: Option<(usize, Snapshot)>,
    watch: Arc<Watch>,
    rng: Rng,
    /// Counts what I/O code has had changed, see [`asker`](super::asker).
    changed_by_io: Arc<AtomicU64>,
    spoil: Spoil,
}

/// Whether a byte is to be spoilt.
#[derive(Debug)]
enum Spoil {
    /// None is.
    Never,
    /// As soon as enough steps are done.
    Later,
    /// This filter does it. It is none of its group's filters: nobody takes it
    /// out, however long it takes until enough is read through it.
    By(#[expect(dead_code, reason = "keeps the filter")] Node),
}

/// A step under way.
#[derive(Clone, Debug)]
struct Step {
    number: u64,
    what: String,
}

impl Step {
    fn begin(watch: &Watch, what: String) -> Step {
        Step {
            number: watch.run.journal.begin(what.clone()),
            what,
        }
    }

    /// For an operation that must succeed.
    fn must<T>(&self, outcome: Result<T, GraphError>) -> Result<T, Failure> {
        outcome.map_err(|error| Failure::Graph {
            step: self.number,
            what: self.what.clone(),
            error,
        })
    }

    /// As [`must`](Step::must), for what has to do with images.
    fn opened<T>(&self, outcome: Result<T, OpenError>) -> Result<T, Failure> {
        match outcome {
            Err(OpenError::Graph(error)) => self.must(Err(error)),
            outcome => outcome.map_err(|error| Failure::Open {
                step: self.number,
                what: self.what.clone(),
                error,
            }),
        }
    }

    /// For something that must be so.
    fn promise(&self, kept: bool, promise: impl FnOnce() -> String) -> Result<(), Failure> {
        if kept {
            return Ok(());
        }
        Err(Failure::Promise {
            step: self.number,
            promise: format!("{} ({})", promise(), self.what),
        })
    }
}

impl Changer {
    /// For this graph.
    pub fn new(
        world: World,
        watch: Arc<Watch>,
        rng: Rng,
        changed_by_io: Arc<AtomicU64>,
        spoil: bool,
    ) -> Self {
        Changer {
            world,
            during: None,
            chain_picture: None,
            watch,
            rng,
            changed_by_io,
            spoil: match spoil {
                true => Spoil::Later,
                false => Spoil::Never,
            },
        }
    }

    /// One step, and a pause in which the main loop runs.
    pub fn step(&mut self, bql: &mut BqlGuard) {
        let group = self.some_group();
        let is_time = self.watch.run.journal.step() >= SPOIL_AT;
        let outcome = if is_time && matches!(self.spoil, Spoil::Later) {
            self.insert_spoiler(bql)
        } else {
            let is_chain = self.world.groups[group].chain().is_some();
            match self.rng.below(40) {
                // What is done below the others is done to the chain itself.
                0..13 if is_chain => self.change_chain(bql, group),
                0..8 => self.replace_file(bql, group),
                8..11 => self.replace_format(bql, group),
                11..13 => self.replace_below_backend(bql, group),
                13..18 => self.insert_filter(bql, group),
                18..23 => self.drop_filter(bql, group),
                23..27 => self.move_group(bql, group),
                27..29 => self.probe(bql, group),
                29..31 => self.delete_node(bql),
                31..33 => self.change_iothreads(bql),
                33..36 => self.nest_sections(bql, group),
                _ => self.be_refused(bql, group),
            }
        };
        match outcome {
            Ok(kind) => self.watch.run.count(kind),
            // I/O code had something changed while we waited for the drain;
            // the operation noticed, and has changed nothing.
            Err(Failure::Graph {
                error: GraphError::StaleEdge,
                ..
            }) => self.watch.run.count(Kind::Overtaken),
            Err(failure) => self.watch.fail(failure),
        }
        bql.run_for(Duration::from_micros(self.rng.below(PACE)));
    }

    /// Which part of the graph is next. The chain's turn comes more often: there
    /// are more things to be done to it.
    fn some_group(&mut self) -> usize {
        let groups = &self.world.groups;
        let any = self.rng.below(groups.len() as u64) as usize;
        let chain = groups.iter().position(|group| group.chain().is_some());
        match chain {
            Some(chain) if self.rng.once_in(4) => chain,
            _ => any,
        }
    }

    fn begin(&self, what: String) -> Step {
        Step::begin(&self.watch, what)
    }

    /// How much I/O code has had changed. When it is the same as before, what
    /// the graph looks like is this thread's doing alone.
    fn changed_by_io(&self) -> u64 {
        self.changed_by_io.load(Ordering::SeqCst)
    }

    /// Inside a drained section of `node`: no request of the load is active
    /// at any backend above it.
    fn check_quiet(&self, bql: &BqlGuard, node: &Node, step: &Step) -> Result<(), Failure> {
        let mut above = Vec::new();
        backends_above(node.view(bql), &mut above);
        for (_, disk) in self.world.disks() {
            let name = disk.backend.name();
            let active = disk.target.active.load(Ordering::SeqCst);
            step.promise(
                active == 0 || !above.iter().any(|above| above == name),
                || {
                    format!(
                        "'{}' is drained, and '{name}' above it has {active} active requests",
                        node.name()
                    )
                },
            )?;
        }
        Ok(())
    }
}

/// The names of the backends from which requests come to a node.
fn backends_above(node: NodeView<'_>, names: &mut Vec<String>) {
    for edge in node.parents() {
        match (edge.parent_node(), edge.parent()) {
            (Some(parent), _) => backends_above(parent, names),
            (None, block_common::ParentDescription::Backend(name)) => names.push(name),
            (None, _) => {}
        }
    }
}

/// Reads what is never written of a disk, through a request at a node that
/// shows the disk from its beginning, and compares it.
pub async fn check_fixed_part(
    request: Request<'_>,
    contents: &Contents,
) -> Result<Result<(), super::pattern::Mismatch>, block_gs::IoError> {
    const BYTES: u64 = 16 << 10;
    match contents {
        Contents::Pattern {
            pattern, lanes_at, ..
        } => {
            let mut buffer = Buffer::zeroed(BYTES.min(*lanes_at) as usize);
            request.read(0, buffer.destination()).await?;
            Ok(pattern.check(0, buffer.as_slice(), |_| 0))
        }
        Contents::Image { pieces, .. } => {
            let Some((at, known)) = pieces.first() else {
                return Ok(Ok(()));
            };
            let mut buffer = Buffer::zeroed(known.len());
            request.read(*at, buffer.destination()).await?;
            Ok(super::load::check_piece(pieces, *at, buffer.as_slice()))
        }
    }
}

/// What [`check_fixed_part`] found, as a failure of a step.
fn judge(
    step: u64,
    disk: &Disk,
    outcome: Result<Result<(), super::pattern::Mismatch>, block_gs::IoError>,
) -> Result<(), Failure> {
    let place = format!("'{}', read by the main thread", disk.backend.name());
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(mismatch)) => Err(Failure::WrongByte {
            place,
            mismatch,
            step,
        }),
        Err(error) => Err(Failure::Graph {
            step,
            what: place,
            error: error.into(),
        }),
    }
}
