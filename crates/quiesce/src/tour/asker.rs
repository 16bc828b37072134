//! I/O code that asks for graph changes.
//!
//! It runs in the iothreads and has no proof of the BQL, nor could it get
//! one. It hands a closure to the main loop, awaits the answer, and holds no
//! request meanwhile: the drain would wait for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use block_drivers::Stats;
use block_gs::{Backend, BqlGuard, Drained, GraphError, MainLoop, MainLoopGone, Node};
use block_io::Request;
use block_io::aio::sleep;

use super::changes::check_fixed_part;
use super::failure::Failure;
use super::load::Target;
use super::rng::Rng;
use super::watch::{Kind, Watch};

/// A task that asks.
#[derive(Debug)]
pub struct Asker {
    /// In which iothread.
    pub place: String,
    /// Whom it asks.
    pub main: MainLoop,
    /// What it asks about.
    pub disks: Vec<(Backend, Arc<Target>)>,
    /// Whether the filters it inserts must be read-only, by disk.
    pub read_only: Vec<bool>,
    /// Counts what it has had changed. The main thread looks at it to tell
    /// its own changes from these.
    pub changes: Arc<AtomicU64>,
    /// What it shares with everybody.
    pub watch: Arc<Watch>,
    /// Its choices.
    pub rng: Rng,
}

impl Asker {
    /// Asks now and then, until it is told to stop.
    pub async fn run(mut self) {
        let mut inserted: Option<Node> = None;
        let mut number = 0;
        while !self.watch.run.is_stopping() {
            sleep(Duration::from_micros(self.rng.within(2_000..12_000))).await;
            number += 1;
            let asked = match (inserted.take(), self.rng.below(3)) {
                (None, 0) => {
                    let filter = self.insert(number).await;
                    filter.map(|filter| inserted = filter)
                }
                (Some(filter), 0) => self.drop_filter(filter).await,
                (kept, _) => {
                    inserted = kept;
                    self.look().await
                }
            };
            if asked.is_err() {
                return;
            }
            self.watch.run.count(Kind::AskedByIo);
        }
    }

    fn some_disk(&mut self) -> Option<(Backend, Arc<Target>, bool)> {
        let index = self.rng.below(self.disks.len() as u64) as usize;
        let (backend, target) = self.disks.get(index)?.clone();
        Some((backend, target, self.read_only[index]))
    }

    /// Has a filter inserted directly below a backend.
    async fn insert(&mut self, number: u64) -> Result<Option<Node>, MainLoopGone> {
        let Some((backend, _, read_only)) = self.some_disk() else {
            return Ok(None);
        };
        let name = format!("asked-{}-{number}", self.place);
        let what = format!(
            "{} asks: insert '{name}' below '{}'",
            self.place,
            backend.name()
        );
        let change = move |bql: &mut BqlGuard| -> Result<Option<Node>, GraphError> {
            let Some(top) = backend.node(bql) else {
                return Ok(None);
            };
            let filter = Stats::over(&top).read_only(read_only).open(bql, &name)?;
            top.drain(bql).replace_with(&filter)?;
            Ok(Some(filter))
        };
        Ok(self.ask(what, change).await?.flatten())
    }

    async fn drop_filter(&mut self, filter: Node) -> Result<(), MainLoopGone> {
        let what = format!("{} asks: drop '{}'", self.place, filter.name());
        let change = move |bql: &mut BqlGuard| filter.drain(bql).drop_filter();
        self.ask(what, change).await?;
        Ok(())
    }

    async fn ask<R: Send + 'static>(
        &self,
        what: String,
        change: impl FnOnce(&mut BqlGuard) -> Result<R, GraphError> + Send + 'static,
    ) -> Result<Option<R>, MainLoopGone> {
        let (watch, changes) = (Arc::clone(&self.watch), Arc::clone(&self.changes));
        let outcome = self.main.call(move |bql| {
            changes.fetch_add(1, Ordering::SeqCst);
            let step = watch.run.journal.begin(what.clone());
            change(bql).map_err(|error| Failure::Graph { step, what, error })
        });
        match outcome.await? {
            Ok(done) => Ok(Some(done)),
            Err(failure) => {
                self.watch.fail(failure);
                Ok(None)
            }
        }
    }

    /// Has the node below a backend drained, and reads through it inside the
    /// section.
    async fn look(&mut self) -> Result<(), MainLoopGone> {
        let Some((backend, target, _)) = self.some_disk() else {
            return Ok(());
        };
        let name = backend.name().to_owned();
        let Some(node) = self.main.call(move |bql| backend.node(bql)).await? else {
            return Ok(());
        };
        let watch = Arc::clone(&self.watch);
        let what = format!("{} asks: drain '{}'", self.place, node.name());
        let look = move |section: &mut Drained<'_>| {
            let step = watch.run.journal.begin(what.clone());
            // It may have been taken out since, and lead nowhere.
            if section.node().view(section).parents().next().is_none() {
                return;
            }
            let contents = &target.contents;
            let outcome =
                section.io(async |request: Request<'_>| check_fixed_part(request, contents).await);
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(mismatch)) => watch.fail(Failure::WrongByte {
                    place: format!("'{name}', read in a section that I/O code asked for"),
                    mismatch,
                    step,
                }),
                Err(error) => watch.fail(Failure::Graph {
                    step,
                    what,
                    error: error.into(),
                }),
            }
        };
        node.drained_by(&self.main, look).await
    }
}
