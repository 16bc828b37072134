//! Requests to files, beside loops of system calls.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::callgrind::{self, REQUESTS};
use crate::cli::Options;
use crate::contest::{Contestant, Time, contest};
use crate::error::Failure;
use crate::report::{Cell, Table};

/// The section.
///
/// # Errors
/// When a contestant fails, or is missing.
pub fn measure(options: &Options, found: &mut dyn FnMut(Table)) -> Result<(), Failure> {
    let memory = Image::create(options, &options.tmpfs)?;
    let disk = Image::create(options, &options.dir)?;
    let cached = [("memory", &memory), ("disk", &disk)];
    found(page_cache(options, &cached, false)?);
    found(page_cache(options, &cached, true)?);
    found(direct(options, &disk)?);
    found(looks(options, &cached)?);
    Ok(())
}

/// A raw image in a directory of its own, in the page cache as far as it goes.
pub struct Image {
    /// Takes the image with it.
    _directory: TempDir,
    path: PathBuf,
}

impl Image {
    /// An image without holes.
    ///
    /// # Errors
    /// [`Failure::File`].
    pub fn create(options: &Options, parent: &Path) -> Result<Image, Failure> {
        let failed = |error| Failure::File {
            path: parent.to_owned(),
            error,
        };
        let mut directory = tempfile::Builder::new();
        let directory = directory
            .prefix("measure-")
            .tempdir_in(parent)
            .map_err(failed)?;
        let path = directory.path().join("image");
        let write = || {
            let mut file = File::create(&path)?;
            let megabytes: u8 = if options.quick { 8 } else { LENGTH_MIB };
            for number in 0..megabytes {
                file.write_all(&vec![number; 1 << 20])?;
            }
            file.write_all(&vec![megabytes; 1 << 20])?;
            file.sync_all()?;
            fs::read(&path).map(drop)
        };
        write().map_err(failed)?;
        Ok(Image {
            _directory: directory,
            path,
        })
    }

    /// The path, as options of a node take it.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a path that they do not.
    pub fn name(&self) -> Result<&str, Failure> {
        let name = self.path.to_str().filter(|name| !name.contains(','));
        name.ok_or(Failure::Usage(
            "the directory's name must be UTF-8 without a comma",
        ))
    }

    /// Options of a raw image in the file, for both sides.
    pub fn node(&self) -> Result<String, Failure> {
        Ok(format!(
            "driver=raw,file.driver=file,file.filename={}",
            self.name()?
        ))
    }
}

/// One less than the length of an image.
const LENGTH_MIB: u8 = 255;

/// From one request to the next where QEMU's tool is compared: it cannot jump
/// about. Far enough for nothing to be read ahead, and all of the image is
/// reached.
const STRIDE: &str = "1069056";

const ENGINES: [&str; 3] = ["threads", "native", "io_uring"];

/// Which requests are compared.
struct Load<'a> {
    image: &'a Image,
    depth: &'a str,
    write: bool,
    direct: bool,
    /// Others take part, threads or the kernel's.
    helpers: bool,
}

impl Load<'_> {
    fn own(&self, kind: &str, strided: bool) -> Result<Contestant, Failure> {
        let node = self.image.node()?;
        let target = if kind == "layer" {
            &node
        } else {
            self.image.name()?
        };
        let mut arguments = vec![kind, target, "-d", self.depth];
        if strided {
            arguments.extend(["-S", STRIDE]);
        }
        if self.write {
            arguments.push("-w");
        }
        if self.direct {
            arguments.push("--direct");
        }
        let own = Contestant::work(&arguments)?;
        Ok(if self.helpers {
            own.with_helpers()
        } else {
            own
        })
    }

    /// Linux AIO takes direct I/O only.
    fn qemu(&self) -> Result<Vec<(&'static str, Contestant)>, Failure> {
        let mut all = Vec::new();
        for engine in ENGINES {
            if engine == "native" && !self.direct {
                continue;
            }
            let cache = if self.direct { "none" } else { "writeback" };
            let mut arguments = vec!["-f", "raw", "-t", cache, "-i", engine, "-S", STRIDE];
            arguments.extend(["-d", self.depth, self.image.name()?]);
            if self.write {
                arguments.push("-w");
            }
            all.push((engine, Contestant::qemu_img(&arguments)?.with_helpers()));
        }
        Ok(all)
    }

    /// Ours and a loop without a block layer anywhere, and with a stride
    /// beside QEMU.
    fn compare(&self, options: &Options, baseline: &str) -> Result<Outcome, Failure> {
        let mut contestants = vec![
            self.own("layer", false)?,
            self.own(baseline, false)?,
            self.own("layer", true)?,
        ];
        let qemu = self.qemu()?;
        contestants.extend(qemu.iter().map(|(_, contestant)| contestant.clone()));
        let times = contest(options, &contestants)?;
        let engines = times[3..].iter().zip(&qemu);
        let (&best, (engine, _)) = engines
            .min_by(|a, b| a.0.nanoseconds.total_cmp(&b.0.nanoseconds))
            .ok_or(Failure::Usage("QEMU has no engine for this"))?;
        Ok(Outcome {
            ours: times[0],
            baseline: times[1],
            strided: times[2],
            qemu: best,
            engine,
        })
    }
}

struct Outcome {
    ours: Time,
    baseline: Time,
    strided: Time,
    qemu: Time,
    engine: &'static str,
}

impl Outcome {
    fn cells(&self) -> [Cell; 7] {
        [
            self.ours.cell_us(),
            self.baseline.cell_us(),
            self.ours.ratio(self.baseline),
            self.strided.cell_us(),
            self.qemu.cell_us(),
            self.strided.ratio(self.qemu),
            self.engine.into(),
        ]
    }
}

fn page_cache(options: &Options, images: &[(&str, &Image)], write: bool) -> Result<Table, Failure> {
    let (title, call) = match write {
        false => ("Reads of the page cache", "pread"),
        true => ("Writes to the page cache", "pwrite"),
    };
    let mut table = Table::new(
        title,
        &format!(
            "4 KiB requests to a raw image of 256 MiB, in µs a request: anywhere in it, beside a \
             loop of `{call}` to the same places; then with a stride, beside `qemu-img bench` \
             with the engine that is best there. All on one CPU."
        ),
        &[
            "file on",
            "depth",
            "µs",
            &format!("`{call}`"),
            "times",
            "µs, stride",
            "QEMU",
            "part",
            "QEMU's engine",
        ],
    );
    for (place, image) in images {
        for depth in ["1", "32"] {
            options.say(&format!("files: {call} on {place}, depth {depth}"));
            let load = Load {
                image,
                depth,
                write,
                direct: false,
                helpers: write && *place == "disk",
            };
            let outcome = load.compare(options, "plain")?;
            let mut row = vec![Cell::from(*place), depth.into()];
            row.extend(outcome.cells());
            table.row(row);
        }
    }
    Ok(table)
}

fn direct(options: &Options, image: &Image) -> Result<Table, Failure> {
    let mut table = Table::new(
        "Direct I/O",
        "4 KiB requests with `O_DIRECT` to the image on disk, in µs a request: anywhere in it, \
         beside a loop that keeps an io_uring full and does nothing else; then with a stride, \
         beside `qemu-img bench` with the engine that is best there. All on one CPU.",
        &[
            "request",
            "depth",
            "µs",
            "bare loop",
            "times",
            "µs, stride",
            "QEMU",
            "part",
            "QEMU's engine",
        ],
    );
    for write in [false, true] {
        for depth in ["1", "32"] {
            let request = if write { "write" } else { "read" };
            options.say(&format!("files: direct {request}s, depth {depth}"));
            let load = Load {
                image,
                depth,
                write,
                direct: true,
                helpers: true,
            };
            let outcome = load.compare(options, "ring")?;
            let mut row = vec![Cell::from(request), depth.into()];
            row.extend(outcome.cells());
            table.row(row);
        }
    }
    Ok(table)
}

/// Looks for holes in an image that has none.
fn looks(options: &Options, images: &[(&str, &Image)]) -> Result<Table, Failure> {
    let mut table = Table::new(
        "Looks for holes",
        "What 4 KiB of a raw image of 256 MiB without holes are, anywhere in it, one look after \
         the other; instructions outside the kernel by callgrind, time beside a loop of two \
         `lseek` to the same places. All on one CPU.",
        &["file on", "instructions", "ns", "`lseek`", "part"],
    );
    for (place, image) in images {
        options.say(&format!("files: looks for holes on {place}"));
        let node = image.node()?;
        let ours = Contestant::work(&["layer", &node, "--holes"])?;
        let plain = Contestant::work(&["plain", image.name()?, "--holes"])?;
        let instructions = callgrind::count(options, &ours, REQUESTS, false)?;
        let times = contest(options, &[ours, plain])?;
        table.row(vec![
            Cell::from(*place),
            Cell::figure(instructions.each, 0),
            times[0].cell(),
            times[1].cell(),
            times[0].ratio(times[1]),
        ]);
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strided_requests_reach_all_of_the_image_and_are_aligned() {
        let stride: u64 = STRIDE.parse().expect("a number");
        let blocks = (u64::from(LENGTH_MIB) + 1) << 8;
        assert_eq!(stride % 4096, 0);
        // Odd, and the number of blocks is a power of two.
        assert_eq!(stride / 4096 % 2, 1);
        assert!(blocks.is_power_of_two());
    }
}
