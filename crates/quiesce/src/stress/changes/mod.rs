//! What the main thread does to the graph: one random step after the other.

mod files;
mod filters;
mod homes;
mod refusals;
mod sections;
mod trouble;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use block_gs::{BqlGuard, GraphError, IoThread, Node};

use super::disk::Held;
use super::shared::Shared;
use crate::tour::rng::Rng;

/// The pause between two steps is below this, in microseconds.
const PACE: u64 = 4000;

/// What a step comes to: how it is counted, or what was wrong.
type Outcome = Result<&'static str, String>;

/// Makes the changes.
#[derive(Debug)]
pub struct Changer {
    /// The disks.
    pub disks: Vec<Held>,
    /// Where they can be at home.
    pub iothreads: Vec<IoThread>,
    /// What is shared with the tasks.
    pub shared: Arc<Shared>,
    /// The choices.
    pub rng: Rng,
    names: u64,
}

impl Changer {
    /// For these disks.
    pub fn new(
        disks: Vec<Held>,
        iothreads: Vec<IoThread>,
        shared: Arc<Shared>,
        rng: Rng,
    ) -> Changer {
        Changer {
            disks,
            iothreads,
            shared,
            rng,
            names: 0,
        }
    }

    /// One step, and a pause in which the main loop runs.
    pub fn step(&mut self, bql: &mut BqlGuard) {
        let number = self.rng.below(self.disks.len() as u64) as usize;
        let outcome = match self.rng.below(40) {
            0..9 => self.insert_filter(bql, number),
            9..17 => self.drop_filter(bql, number),
            17..20 => self.replace_file(bql, number),
            20..23 => self.replace_below_backend(bql, number),
            23..26 => self.reattach_reader(bql, number),
            26..29 => self.move_disk(bql, number),
            29..32 => self.drain_some(bql, number),
            32..36 => self.be_refused(bql, number),
            _ => self.change_trouble(bql, number),
        };
        match outcome {
            Ok(what) => self.shared.run.count(what),
            Err(what) => {
                let step = self.shared.run.journal.last();
                self.shared.fail(format!("{step}: {what}"));
            }
        }
        self.shared.run.beat();
        bql.run_for(Duration::from_micros(self.rng.below(PACE)));
    }

    fn begin(&self, what: String) {
        self.shared.run.journal.begin(what);
    }

    fn fresh_name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}-{}", self.names)
    }

    /// Nothing is in flight at the disk whose node is drained.
    fn check_quiet(&self, number: usize) -> Result<(), String> {
        let disk = &self.disks[number].disk;
        // What the gate counts may include one that is about to park.
        match disk.active.load(Ordering::SeqCst) {
            0 => Ok(()),
            active => Err(format!(
                "'{}' is drained and has {active} active requests",
                disk.name
            )),
        }
    }

    fn some_node(&mut self, bql: &BqlGuard, number: usize) -> Option<Node> {
        let chain = self.disks[number].chain(bql);
        self.rng.pick(&chain).cloned()
    }
}

fn words(error: GraphError) -> String {
    error.to_string()
}
