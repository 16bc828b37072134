//! Latency of running requests while the graph changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use block_drivers::{File, NullAio, NullCo, Raw};
use block_gs::{Backend, BlockLayer, BqlGuard, IoThread, Node, Perm};
use block_io::{Buffer, IoError, Root};

use crate::cli::Options;
use crate::error::Failure;
use crate::files::Image;
use crate::report::{Cell, Table};

/// The section.
///
/// # Errors
/// When files cannot be made, or a request fails.
pub fn measure(options: &Options, found: &mut dyn FnMut(Table)) -> Result<(), Failure> {
    let images = [
        Image::create(options, &options.dir)?,
        Image::create(options, &options.dir)?,
    ];
    let mut table = Table::new(
        "Requests while the graph changes",
        "4 KiB reads from an iothread: of a file in the page cache, or of a device that takes \
         1 ms. Every 10 ms the main loop replaces the child of a node in a drained section: \
         below the requests (*related*), or elsewhere (*unrelated*). Latency in µs; each figure \
         is the least of the rounds, whose kinds took turns. A change lasts from asking for the \
         drained section to its end.",
        &[
            "device",
            "depth",
            "changes",
            "requests/s",
            "p50",
            "p99",
            "p99.9",
            "max",
            "change p50",
            "change p99",
        ],
    );
    for device in [Device::Cached, Device::Slow] {
        for depth in [1, 32] {
            let mut best: Vec<Option<Summary>> = vec![None; Kind::ALL.len()];
            for round in 0..if options.quick { 1 } else { 3 } {
                options.say(&format!("swap: {device:?}, depth {depth}, round {round}"));
                for (kind, best) in Kind::ALL.into_iter().zip(&mut best) {
                    let seconds = if options.quick { 0.05 } else { 1.5 };
                    let summary = run(device, depth, kind, seconds, &images)?;
                    *best = Some(best.take().map_or(summary, |best| best.least(summary)));
                }
            }
            for (kind, best) in Kind::ALL.into_iter().zip(best) {
                if let Some(summary) = best {
                    table.row(summary.cells(device, depth, kind));
                }
            }
        }
    }
    found(table);
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Device {
    Cached,
    Slow,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    None,
    Unrelated,
    Related,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::None, Kind::Unrelated, Kind::Related];
}

/// Time between two changes.
const EVERY: Duration = Duration::from_millis(10);

/// What one run, or the best of several, has shown. In nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Summary {
    rate: f64,
    latency: [f64; 4],
    change: Option<[f64; 2]>,
}

impl Summary {
    fn least(self, other: Summary) -> Summary {
        let mut least = self;
        least.rate = self.rate.max(other.rate);
        for (mine, other) in least.latency.iter_mut().zip(other.latency) {
            *mine = mine.min(other);
        }
        if let (Some(mine), Some(other)) = (&mut least.change, other.change) {
            for (mine, other) in mine.iter_mut().zip(other) {
                *mine = mine.min(other);
            }
        }
        least
    }

    fn cells(self, device: Device, depth: usize, kind: Kind) -> Vec<Cell> {
        let us = |nanoseconds: f64| Cell::figure(nanoseconds / 1000.0, 1);
        let device = match device {
            Device::Cached => "page cache",
            Device::Slow => "1 ms",
        };
        let kind = match kind {
            Kind::None => "none",
            Kind::Unrelated => "unrelated",
            Kind::Related => "related",
        };
        let mut cells = vec![device.into(), depth.to_string().into(), kind.into()];
        cells.push(Cell::figure(self.rate, 0));
        cells.extend(self.latency.map(us));
        match self.change {
            Some(change) => cells.extend(change.map(us)),
            None => cells.extend([Cell::None, Cell::None]),
        }
        cells
    }
}

/// A node whose child changes, and the children.
struct Swapped {
    top: Node,
    below: [Node; 2],
}

fn run(
    device: Device,
    depth: usize,
    kind: Kind,
    seconds: f64,
    images: &[Image; 2],
) -> Result<Summary, Failure> {
    let layer = BlockLayer::new()?;
    layer.enter(|bql| {
        let below = match device {
            Device::Cached => {
                let open = |bql: &mut BqlGuard, index: usize| -> Result<Node, Failure> {
                    let file = File::new(images[index].name()?).read_only(true);
                    Ok(file.open(bql, &format!("file-{index}"))?)
                };
                [open(bql, 0)?, open(bql, 1)?]
            }
            Device::Slow => {
                let open = |bql: &mut BqlGuard, name| {
                    let latency = Duration::from_millis(1);
                    NullAio::new(8 << 20).latency(latency).open(bql, name)
                };
                [open(bql, "slow-0")?, open(bql, "slow-1")?]
            }
        };
        let nulls = [
            NullCo::new(1 << 20).open(bql, "null-0")?,
            NullCo::new(1 << 20).open(bql, "null-1")?,
        ];
        let related = swapped(bql, "related", below)?;
        let unrelated = swapped(bql, "unrelated", nulls)?;
        let other = backend(bql, "other", &unrelated.top)?;
        let disk = backend(bql, "disk", &related.top)?;
        let iothread = IoThread::create(bql, "requests")?;
        disk.set_iothread(bql, Some(&iothread))?;

        let load = Load::start(&disk, depth, related.top.length(bql));
        // The first ones do not count.
        bql.run_for(Duration::from_secs_f64(seconds / 20.0));
        load.measure.store(true, Ordering::Relaxed);
        let start = Instant::now();
        let mut changes = Histogram::new();
        let mut number = 0;
        while start.elapsed().as_secs_f64() < seconds {
            bql.run_for(EVERY);
            let target = match kind {
                Kind::None => continue,
                Kind::Unrelated => &unrelated,
                Kind::Related => &related,
            };
            number += 1;
            let begin = Instant::now();
            let new = &target.below[number % 2];
            target.top.drain(bql).replace_child("file", new)?;
            changes.add(begin.elapsed());
        }
        load.measure.store(false, Ordering::Relaxed);
        let took = start.elapsed();
        let latency = load.finish(bql)?;
        drop((disk, other));
        Ok(Summary {
            rate: latency.total as f64 / took.as_secs_f64(),
            latency: [0.5, 0.99, 0.999, 1.0].map(|part| latency.quantile(part)),
            change: (kind != Kind::None).then(|| [0.5, 0.99].map(|part| changes.quantile(part))),
        })
    })
}

fn swapped(bql: &mut BqlGuard, name: &str, below: [Node; 2]) -> Result<Swapped, Failure> {
    let top = Raw::over(&below[0]).read_only(true).open(bql, name)?;
    Ok(Swapped { top, below })
}

fn backend(bql: &mut BqlGuard, name: &str, node: &Node) -> Result<Backend, Failure> {
    let backend = Backend::new(bql, name, Perm::CONSISTENT_READ, Perm::all())?;
    backend.insert(bql, node)?;
    Ok(backend)
}

/// Tasks that read.
struct Load {
    tasks: Vec<block_io::aio::JoinHandle<Result<Histogram, IoError>>>,
    measure: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn start(disk: &Backend, depth: usize, length: u64) -> Load {
        let measure = Arc::new(AtomicBool::new(false));
        let stop = Arc::new(AtomicBool::new(false));
        let task = |lane: usize| {
            let root = disk.root().clone();
            let (measure, stop) = (Arc::clone(&measure), Arc::clone(&stop));
            let first = length / depth as u64 * lane as u64;
            let read = async move { read(&root, first, length, &measure, &stop).await };
            disk.root().spawn(read)
        };
        Load {
            tasks: (0..depth).map(task).collect(),
            measure,
            stop,
        }
    }

    fn finish(self, bql: &mut BqlGuard) -> Result<Histogram, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Histogram::new();
        for task in self.tasks {
            all.merge(&bql.block_on(task)?);
        }
        Ok(all)
    }
}

/// Reads 4 KiB after 4 KiB, all around, until it is told to stop.
async fn read(
    root: &Root,
    first: u64,
    length: u64,
    measure: &AtomicBool,
    stop: &AtomicBool,
) -> Result<Histogram, IoError> {
    let mut buffer = Buffer::zeroed(4096);
    let mut latencies = Histogram::new();
    let mut offset = first & !4095;
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        root.read(offset, buffer.destination()).await?;
        if measure.load(Ordering::Relaxed) {
            latencies.add(begin.elapsed());
        }
        offset += 4096;
        if offset + 4096 > length {
            offset = 0;
        }
    }
    Ok(latencies)
}

/// How many durations were about how long: to 2 %, in a fixed number of bins.
struct Histogram {
    bins: Box<[u32]>,
    total: u64,
    max: u64,
}

/// Bins between a duration and its double.
const FINE: u32 = 6;

impl Histogram {
    fn new() -> Histogram {
        Histogram {
            bins: vec![0; 64 << FINE].into(),
            total: 0,
            max: 0,
        }
    }

    fn add(&mut self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.bins[Histogram::bin(nanoseconds)] += 1;
        self.total += 1;
        self.max = self.max.max(nanoseconds);
    }

    fn bin(nanoseconds: u64) -> usize {
        let shift = nanoseconds.max(1).ilog2().saturating_sub(FINE);
        ((shift as usize) << FINE) + (nanoseconds >> shift) as usize
    }

    /// The least duration of a bin.
    fn least(bin: usize) -> u64 {
        let shift = (bin >> FINE).saturating_sub(1);
        ((bin - (shift << FINE)) as u64) << shift
    }

    fn merge(&mut self, other: &Histogram) {
        for (mine, other) in self.bins.iter_mut().zip(&other.bins) {
            *mine += other;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// The duration that this part of all do not exceed, in nanoseconds.
    fn quantile(&self, part: f64) -> f64 {
        if part >= 1.0 {
            return self.max as f64;
        }
        let wanted = (self.total as f64 * part) as u64;
        let mut seen = 0;
        for (bin, &count) in self.bins.iter().enumerate() {
            seen += u64::from(count);
            if seen > wanted {
                return Histogram::least(bin) as f64;
            }
        }
        self.max as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_found_again_and_fine_enough() {
        for nanoseconds in (0..2000).chain([12_345_678, 1 << 40, u64::MAX]) {
            let least = Histogram::least(Histogram::bin(nanoseconds));
            assert!(least <= nanoseconds);
            assert!(nanoseconds - least <= nanoseconds / 64, "{nanoseconds}");
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_added() {
        let mut histogram = Histogram::new();
        for microseconds in 1..=1000 {
            histogram.add(Duration::from_micros(microseconds));
        }
        let near = |part: f64, microseconds: f64| {
            let found = histogram.quantile(part) / 1000.0;
            assert!((found / microseconds - 1.0).abs() < 0.02, "{part}: {found}");
        };
        near(0.5, 500.0);
        near(0.99, 990.0);
        near(1.0, 1000.0);
    }
}
