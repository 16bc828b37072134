//! The soak run: all kinds of requests, errors, cancellations and graph
//! changes at random, compared with a model.
//!
//! | module | what |
//! |---|---|
//! | `model` | which values each byte can have |
//! | `locks` | which part of a disk a request has to itself |
//! | `disk` | the graphs, and the files below |
//! | `worker`, `requests`, `lengths` | the load |
//! | `cancel` | dropping requests half way |
//! | `changes` | what the main thread does meanwhile |
//! | `finish` | the last checks |

mod cancel;
mod changes;
mod disk;
mod finish;
mod lengths;
mod locks;
mod model;
mod options;
mod report;
mod requests;
mod shared;
mod worker;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use block_drivers::{ThrottleConfig, ThrottleGroup};
use block_gs::{BlockLayer, BqlGuard, GraphError, IoThread, sections_opened};
use block_io::Buffer;
use block_io::aio::{AioContext, JoinHandle};

pub use self::options::{ABOUT, EXAMPLES, Options};

use self::changes::Changer;
use self::disk::{Disk, Held};
use self::finish::Footprint;
use self::report::Report;
use self::shared::Shared;
use self::worker::{LONGEST, Worker};
use crate::draw::{self, Snapshot};
use crate::tour::failure::SetupError;
use crate::tour::progress::{Now, Progress};
use crate::tour::rng::Rng;
use crate::tour::watchdog::Watchdog;
use crate::tour::{COULD_NOT_RUN, FOUND_SOMETHING, end_on_interrupt, new_directory, some_seed};

/// No request takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs it and prints what came of it.
pub fn main(options: &Options) -> ExitCode {
    let shared = Arc::new(Shared::default());
    match run(options, &shared) {
        Ok(report) => tell(options, &report, &shared),
        Err(error) => {
            eprintln!("quiesce: {error}");
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

fn tell(options: &Options, report: &Report, shared: &Shared) -> ExitCode {
    for failure in &report.failed {
        eprintln!("quiesce: {failure}");
    }
    if report.failures > 0 {
        eprintln!("{}", shared.describe());
        for path in &report.kept {
            eprintln!("Kept: {}", path.display());
        }
        let seed = report.seed;
        eprintln!("The seed was {seed}; --seed {seed} makes the same choices.");
    }
    if !options.quiet {
        println!("\n{}\n  Seed {}", report.table(), report.seed);
    }
    if options.json {
        match serde_json::to_string(report) {
            Ok(line) => println!("{line}"),
            Err(error) => {
                eprintln!("quiesce: the results cannot be written as JSON: {error}");
                return ExitCode::from(COULD_NOT_RUN);
            }
        }
    }
    match report.failures {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(FOUND_SOMETHING),
    }
}

fn run(options: &Options, shared: &Arc<Shared>) -> Result<Report, SetupError> {
    let seed = options.seed.unwrap_or_else(some_seed);
    let dir = new_directory(&options.dir, "quiesce-stress-")?;
    let (beats, state) = (Arc::clone(shared), Arc::clone(shared));
    let watchdog = Watchdog::start(
        move || beats.run.beats(),
        move || format!("The seed was {seed}. {}", state.describe()),
    )?;
    let interrupted = Arc::clone(shared);
    let layer = BlockLayer::new()
        .map_err(|error| SetupError::graph("cannot start the block layer", error))?;
    end_on_interrupt(layer.main_loop(), move || interrupted.run.interrupt())?;
    drop(layer);
    // Whatever the process has anyway is there by now.
    let footprint = Footprint::take();
    let layer = BlockLayer::new()
        .map_err(|error| SetupError::graph("cannot start the block layer", error))?;
    let soak = Soak {
        options,
        shared,
        dir: dir.path(),
    };
    let mut soaked = layer.enter(|bql| soak.run(bql, Rng::new(seed)))?;
    shared.run.beat();
    drop(layer);
    let mut final_bytes = soaked.final_bytes;
    if shared.run.failures() == 0 {
        if options.inject_corruption {
            soaked.spoil()?;
        }
        let checked = finish::check_files(soaked.disks.iter().map(|disk| &**disk))
            .inspect(|bytes| final_bytes += bytes)
            .and_then(|_| finish::check_locks(dir.path()));
        // The roots in there keep the handles of their threads.
        soaked.disks.clear();
        let checked = checked.and_then(|()| footprint.check());
        if let Err(what) = checked {
            shared.fail(what);
        }
    }
    drop(watchdog);
    let mut kept = Vec::new();
    if shared.run.failures() > 0 {
        kept = soaked.draw(dir.path())?;
        kept.push(dir.keep());
    }
    Ok(Report {
        seconds: soaked.elapsed.as_secs_f64(),
        drained_sections: soaked.sections,
        final_bytes_verified: final_bytes,
        kept,
        ..Report::new(seed, shared)
    })
}

/// What is needed to run it.
struct Soak<'a> {
    options: &'a Options,
    shared: &'a Arc<Shared>,
    dir: &'a Path,
}

/// What is left of it.
struct Soaked {
    disks: Vec<Arc<Disk>>,
    elapsed: Duration,
    sections: u64,
    final_bytes: u64,
    last: Snapshot,
}

impl Soak<'_> {
    fn run(&self, bql: &mut BqlGuard, mut rng: Rng) -> Result<Soaked, SetupError> {
        let complain = |error: GraphError| SetupError::graph("cannot begin", error);
        let throttle = ThrottleGroup::new("stress", ThrottleConfig::default())
            .map_err(|error| complain(error.into()))?;
        let mut iothreads = Vec::new();
        for number in 0..self.options.iothreads {
            let name = format!("io{number}");
            iothreads.push(IoThread::create(bql, &name).map_err(complain)?);
        }
        let mut disks = Vec::new();
        for number in 0..self.options.disks {
            let size = self.options.size << 10;
            let held = Held::open(bql, &mut rng, number, self.dir, size, &throttle)?;
            let home = rng.pick(&iothreads).cloned();
            held.backend
                .set_iothread(bql, home.as_ref())
                .map_err(complain)?;
            disks.push(held);
        }
        let start = Instant::now();
        let mut contexts: Vec<AioContext> = iothreads
            .iter()
            .map(|thread| thread.context().clone())
            .collect();
        contexts.push(bql.context().clone());
        let load = self.start_load(&disks, &contexts, &mut rng);
        let mut changer = Changer::new(disks, iothreads, Arc::clone(self.shared), rng);
        let duration = Duration::from_secs(self.options.seconds);
        let mut progress = Progress::new(duration, self.options.quiet);
        while start.elapsed() < duration && !self.shared.run.is_stopping() {
            changer.step(bql);
            if let Some(what) = self.shared.stuck(PATIENCE) {
                self.shared.fail(what);
            }
            progress.update(|| self.now());
        }
        self.shared.run.stop();
        progress.finish();
        // As it was when something went wrong, or the time was up.
        let last = Snapshot::take(bql);
        for held in &changer.disks {
            held.injector.stop();
        }
        for task in load {
            bql.block_on(task);
            self.shared.run.beat();
        }
        let (elapsed, sections) = (start.elapsed(), sections_opened(bql));
        let mut final_bytes = 0;
        if self.shared.run.failures() == 0 {
            match finish::check_disks(bql, &changer.disks) {
                Ok(bytes) => final_bytes = bytes,
                Err(what) => self.shared.fail(what),
            }
        }
        Ok(Soaked {
            disks: changer
                .disks
                .iter()
                .map(|held| Arc::clone(&held.disk))
                .collect(),
            elapsed,
            sections,
            final_bytes,
            last,
        })
    }

    fn now(&self) -> Now {
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let verified = draw::length(get(&self.shared.verified));
        let steps = self.shared.run.journal.step();
        Now {
            requests: get(&self.shared.requests),
            numbers: format!("{verified} verified, {steps} graph steps"),
            message: self.shared.run.journal.last(),
        }
    }

    /// Half of the tasks follow their disks from thread to thread.
    fn start_load(
        &self,
        disks: &[Held],
        contexts: &[AioContext],
        rng: &mut Rng,
    ) -> Vec<JoinHandle<()>> {
        let mut load = Vec::new();
        for held in disks {
            for number in 0..self.options.tasks {
                let worker = Worker {
                    name: format!("task {number} of {}", held.disk.name),
                    disk: Arc::clone(&held.disk),
                    shared: Arc::clone(self.shared),
                    rng: rng.fork(),
                    buffer: Buffer::zeroed(2 * LONGEST as usize),
                    contexts: contexts.to_vec(),
                };
                load.push(match (number % 2, rng.pick(contexts)) {
                    (1, Some(context)) => context.spawn(worker.run()),
                    _ => held.disk.root.spawn(worker.run()),
                });
            }
        }
        load
    }
}

impl Soaked {
    fn draw(&self, dir: &Path) -> Result<Vec<PathBuf>, SetupError> {
        let title = "The block graph when something was wrong";
        let drawn = draw::write(
            &self.last,
            dir,
            "failure",
            title,
            "as the main thread saw it",
        );
        let drawn = drawn
            .map_err(|(path, error)| SetupError::file("cannot write the picture", &path, error))?;
        Ok(drawn.into())
    }

    /// Spoils a byte of the first disk.
    fn spoil(&self) -> Result<(), SetupError> {
        let Some(disk) = self.disks.first() else {
            return Ok(());
        };
        let path = disk.path();
        let spoil = || -> std::io::Result<()> {
            let mut bytes = std::fs::read(&path)?;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            std::fs::write(&path, bytes)
        };
        spoil().map_err(|error| SetupError::file("cannot spoil the image", &path, error))
    }
}
