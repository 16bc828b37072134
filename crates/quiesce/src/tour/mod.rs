//! The tour: requests that are verified, above a graph that changes.

mod asker;
mod chain;
mod changes;
pub mod failure;
mod finish;
mod graph;
mod image;
mod load;
mod options;
mod pattern;
pub mod progress;
mod report;
pub mod rng;
mod spoiler;
mod watch;
pub mod watchdog;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use block_gs::{BlockLayer, BqlGuard, MainLoop, sections_opened};
use block_io::aio::JoinHandle;

pub use self::options::{ABOUT, Options};

use self::asker::Asker;
use self::chain::Checked;
use self::changes::Changer;
use self::failure::SetupError;
use self::graph::World;
use self::image::UserImage;
use self::load::{Counters, Lane, Totals, Worker};
use self::progress::{Now, Progress};
use self::report::{Figures, Report};
use self::rng::Rng;
use self::watch::Watch;
use self::watchdog::Watchdog;
use crate::draw::{self, Snapshot};

/// The exit code when the tour could not run.
pub const COULD_NOT_RUN: u8 = 1;

/// The exit code when something was wrong.
pub const FOUND_SOMETHING: u8 = 3;

/// Gives the tour and prints what came of it.
pub fn main(options: &Options) -> ExitCode {
    let watch = Arc::new(Watch::default());
    match run(options, &watch) {
        Ok(report) => tell(options, &report, &watch),
        Err(error) => {
            eprintln!("quiesce: {error}");
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

fn tell(options: &Options, report: &Report, watch: &Watch) -> ExitCode {
    for failure in &report.failed {
        eprintln!("quiesce: {failure}");
    }
    if report.failures > 0 {
        eprintln!("The last graph steps:\n{}", watch.run.journal.recent());
        eprintln!(
            "The seed was {}; --seed {} makes the same choices.",
            report.seed, report.seed
        );
    }
    if !options.quiet {
        println!("\n{}", report.table());
        if !report.pictures.is_empty() {
            println!("  Pictures");
        }
        for picture in &report.pictures {
            println!("    {}", picture.display());
        }
        println!(
            "\n  Seed {}, file transfers by {}",
            report.seed, report.engine
        );
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

fn run(options: &Options, watch: &Arc<Watch>) -> Result<Report, SetupError> {
    let user = match &options.image {
        Some(path) => Some(UserImage::read(path, options.write_image)?),
        None => None,
    };
    let seed = options.seed.unwrap_or_else(some_seed);
    let below = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = new_directory(&below, "quiesce-images-")?;
    let pictures = Pictures::prepare(options)?;
    let layer = BlockLayer::new()
        .map_err(|error| SetupError::graph("cannot start the block layer", error))?;
    let told = Arc::clone(watch);
    end_on_interrupt(layer.main_loop(), move || told.run.interrupt())?;
    let (beats, steps) = (Arc::clone(watch), Arc::clone(watch));
    let watchdog = Watchdog::start(
        move || beats.run.beats(),
        move || format!("The last graph steps:\n{}", steps.run.journal.recent()),
    )?;
    let tour = Tour {
        options,
        watch,
        dir: dir.path(),
        user: user.as_ref(),
    };
    let show = layer.enter(|bql| tour.show(bql, Rng::new(seed)))?;
    drop(layer);
    let mut checked = Checked::default();
    if watch.run.failures() == 0 {
        checked = finish::check_files(&show.world, &show.lanes, user.as_ref(), watch);
    }
    checked.bytes += show.final_bytes;
    drop(watchdog);
    let pictures = match pictures.directory() {
        Some(dir) => show.draw(&dir)?,
        None => Vec::new(),
    };
    let figures = Figures {
        seed,
        seconds: show.elapsed.as_secs_f64(),
        engine: show.engine,
        totals: show.totals,
        sections: show.sections,
        checked,
        pictures,
    };
    Ok(Report::new(figures, watch))
}

/// What is needed to give it.
struct Tour<'a> {
    options: &'a Options,
    watch: &'a Arc<Watch>,
    dir: &'a Path,
    user: Option<&'a UserImage>,
}

/// What has been seen.
struct Show {
    world: World,
    lanes: Vec<Vec<Lane>>,
    totals: Totals,
    elapsed: Duration,
    sections: u64,
    final_bytes: u64,
    engine: &'static str,
    snapshots: Vec<(&'static str, &'static str, Snapshot)>,
}

/// The load, running.
struct Load {
    /// One list per disk.
    workers: Vec<Vec<JoinHandle<Lane>>>,
    askers: Vec<JoinHandle<()>>,
    counters: Vec<Arc<Counters>>,
}

impl Tour<'_> {
    fn show(&self, bql: &mut BqlGuard, mut rng: Rng) -> Result<Show, SetupError> {
        let world = World::build(bql, self.options, self.dir, self.user)?;
        let before = Snapshot::take(bql);
        let engine = if world.iothreads[0].context().has_io_uring() {
            "io_uring"
        } else {
            "a thread pool"
        };
        let changed_by_io = Arc::new(AtomicU64::new(0));
        let start = Instant::now();
        let load = self.start_load(bql, &world, &mut rng, &changed_by_io);
        let spoil = self.options.inject_corruption;
        let mut changer = Changer::new(world, Arc::clone(self.watch), rng, changed_by_io, spoil);
        let duration = Duration::from_secs(self.options.seconds);
        let mut progress = Progress::new(duration, self.options.quiet);
        let is_over = |changer: &Changer| {
            // However short the time, there is a round of the chain.
            start.elapsed() >= duration && changer.has_made_the_round()
        };
        while !is_over(&changer) && !self.watch.run.is_stopping() {
            changer.step(bql);
            self.watch.run.beat();
            progress.update(|| {
                let totals = Totals::of(&load.counters);
                let verified = draw::length(totals.verified);
                let changes = self.watch.changes();
                Now {
                    requests: totals.requests,
                    numbers: format!("{verified} verified, {changes} graph changes"),
                    message: self.watch.run.journal.last(),
                }
            });
        }
        self.watch.run.stop();
        let counters = load.counters.clone();
        let lanes = load.end(bql, self.watch);
        let elapsed = start.elapsed();
        progress.finish();
        let sections = sections_opened(bql);
        let after = Snapshot::take(bql);
        let mut final_bytes = 0;
        if self.watch.run.failures() == 0 {
            final_bytes = finish::check_disks(bql, &changer.world, &lanes, self.watch);
        }
        let inside = [
            (
                "during",
                "inside the drained section in which a file is replaced",
                changer.during,
            ),
            (
                "chain",
                "inside the drained section in which a chain of images is cut short",
                changer.chain_picture.map(|(_, taken)| taken),
            ),
        ];
        let inside = inside
            .into_iter()
            .filter_map(|(name, subtitle, taken)| Some((name, subtitle, taken?)));
        let ends = [
            ("before", "as it was opened", before),
            ("after", "as the changes have left it", after),
        ];
        Ok(Show {
            world: changer.world,
            lanes,
            totals: Totals::of(&counters),
            elapsed,
            sections,
            final_bytes,
            engine,
            snapshots: ends.into_iter().chain(inside).collect(),
        })
    }

    fn start_load(
        &self,
        bql: &mut BqlGuard,
        world: &World,
        rng: &mut Rng,
        changed_by_io: &Arc<AtomicU64>,
    ) -> Load {
        let mut load = Load {
            workers: Vec::new(),
            askers: Vec::new(),
            counters: Vec::new(),
        };
        for (group, disk) in world.disks() {
            let lanes = match &disk.region {
                Some(region) => Lane::cut(region.lanes(), self.options.tasks),
                None => (0..self.options.tasks)
                    .flat_map(|_| Lane::cut(0..0, 1))
                    .collect(),
            };
            let mut workers = Vec::new();
            for (number, lane) in lanes.into_iter().enumerate() {
                let counters = Arc::new(Counters::default());
                load.counters.push(Arc::clone(&counters));
                let worker = Worker {
                    number,
                    target: Arc::clone(&disk.target),
                    lane,
                    counters,
                    watch: Arc::clone(self.watch),
                    rng: rng.fork(),
                };
                workers.push(if group.tasks_follow {
                    disk.backend.root().spawn(worker.run())
                } else {
                    // Both iothreads at once, wherever the backend lives.
                    world.iothreads[number % 2].context().spawn(worker.run())
                });
            }
            load.workers.push(workers);
        }
        for iothread in &world.iothreads {
            let disks = world
                .disks()
                .map(|(_, disk)| (disk.backend.clone(), Arc::clone(&disk.target)));
            let asker = Asker {
                place: iothread.name().to_owned(),
                main: bql.main_loop(),
                disks: disks.collect(),
                read_only: world.disks().map(|(group, _)| group.read_only).collect(),
                changes: Arc::clone(changed_by_io),
                watch: Arc::clone(self.watch),
                rng: rng.fork(),
            };
            load.askers.push(iothread.context().spawn(asker.run()));
        }
        load
    }
}

impl Load {
    /// Waits for the tasks, which have been told to stop. Returns what they
    /// have left behind, by disk.
    fn end(self, bql: &mut BqlGuard, watch: &Watch) -> Vec<Vec<Lane>> {
        for asker in self.askers {
            bql.block_on(asker);
            watch.run.beat();
        }
        let mut lanes = Vec::new();
        for workers in self.workers {
            let mut of_disk = Vec::new();
            for worker in workers {
                of_disk.push(bql.block_on(worker));
                watch.run.beat();
            }
            lanes.push(of_disk);
        }
        lanes
    }
}

impl Show {
    /// Writes the pictures. Returns where they are.
    fn draw(&self, dir: &Path) -> Result<Vec<PathBuf>, SetupError> {
        let mut written = Vec::new();
        for (name, subtitle, snapshot) in &self.snapshots {
            let title = match *name {
                "chain" => "The block graph while a chain becomes shorter".to_owned(),
                name => format!("The block graph {name} the tour"),
            };
            let drawn = draw::write(snapshot, dir, name, &title, subtitle);
            written.extend(drawn.map_err(|(path, error)| {
                SetupError::file("cannot write the picture", &path, error)
            })?);
        }
        Ok(written)
    }
}

/// Where the pictures go.
enum Pictures {
    /// Nobody would be told.
    Nowhere,
    /// Where the user said.
    Given(PathBuf),
    /// A new directory, kept once there is something in it.
    New(tempfile::TempDir),
}

impl Pictures {
    /// Made before the tour, so that it does not run in vain.
    fn prepare(options: &Options) -> Result<Pictures, SetupError> {
        if let Some(dir) = &options.pictures {
            fs::create_dir_all(dir)
                .map_err(|error| SetupError::file("cannot make the directory", dir, error))?;
            return Ok(Pictures::Given(dir.clone()));
        }
        if options.quiet && !options.json {
            return Ok(Pictures::Nowhere);
        }
        new_directory(&std::env::temp_dir(), "quiesce-pictures-").map(Pictures::New)
    }

    fn directory(self) -> Option<PathBuf> {
        match self {
            Pictures::Nowhere => None,
            Pictures::Given(dir) => Some(dir),
            Pictures::New(dir) => Some(dir.keep()),
        }
    }
}

/// A new directory in `below`, removed with the value.
pub fn new_directory(below: &Path, prefix: &str) -> Result<tempfile::TempDir, SetupError> {
    tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in(below)
        .map_err(|error| SetupError::file("cannot make a directory in", below, error))
}

/// Ctrl-C ends the run as if its time were up; a second one at once.
/// `interrupt` notes it, and returns whether it had been noted before.
pub fn end_on_interrupt(
    main: MainLoop,
    interrupt: impl Fn() -> bool + Send + 'static,
) -> Result<(), SetupError> {
    const INTERRUPTED: i32 = 130;
    ctrlc::set_handler(move || {
        if interrupt() {
            process::exit(INTERRUPTED);
        }
        main.kick();
    })
    .map_err(|error| SetupError::System {
        what: "cannot listen for Ctrl-C",
        error: error.to_string(),
    })
}

/// A seed for those who have given none.
pub fn some_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanoseconds = now.map_or(0, |now| now.as_nanos() as u64);
    // Short enough to be typed again.
    rng::mix(nanoseconds ^ u64::from(process::id())) % 1_000_000
}
