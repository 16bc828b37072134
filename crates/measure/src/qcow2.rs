//! Images in qcow2 format, beside QEMU's tools and, if it is there, imago.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::callgrind::{self, Counts, Instructions, REQUESTS};
use crate::cli::Options;
use crate::contest::{Contestant, Time, contest};
use crate::error::Failure;
use crate::report::{Cell, Table};
use crate::tools::{self, QEMU_IMG, QEMU_IO};

/// The section.
///
/// # Errors
/// When a contestant fails, or is missing.
pub fn measure(options: &Options, found: &mut dyn FnMut(Table)) -> Result<(), Failure> {
    let mut table = Table::new(
        "Requests to qcow2 images",
        "An image of 1 GiB with clusters of 64 KiB, in the page cache; requests have a stride of \
         1044 KiB, those of 1 MiB follow each other, and writes to new clusters come to each \
         cluster once. `quiesce`'s block layer, `qemu-img bench` (for the time with the better one \
         of its engines `threads` and `io_uring`, for instructions with the first) and imago, all \
         on one CPU.",
        &[
            "request",
            "depth",
            "file on",
            "instructions",
            "QEMU",
            "imago",
            "part of QEMU's",
            "µs",
            "QEMU",
            "imago",
            "part of QEMU's",
            "times imago's",
        ],
    );
    let mut profiles = Vec::new();
    for (place, directory) in [("memory", &options.tmpfs), ("disk", &options.dir)] {
        let images = Images::create(options, directory)?;
        for load in &LOADS {
            for depth in load.depths {
                options.say(&format!("qcow2: {}, depth {depth}, {place}", load.name));
                let contestants = images.contestants(options, load, depth)?;
                // What the kernel does is not counted, so one place is enough.
                let profile = place == "memory";
                let (row, lines) = compare(options, &contestants, profile)?;
                let first = [load.name.into(), (*depth).into(), place.into()];
                table.row(first.into_iter().chain(row).collect());
                if profile && load.has_profile {
                    profiles.push((format!("{}, depth {depth}:", load.name), lines));
                }
            }
        }
    }
    for (title, lines) in profiles {
        table.note(title, lines);
    }
    found(table);
    found(once(options)?);
    Ok(())
}

/// Which requests are compared.
struct Load {
    name: &'static str,
    depths: &'static [&'static str],
    image: Which,
    size: &'static str,
    step: &'static str,
    write: bool,
    /// Whether the profile says where instructions go.
    has_profile: bool,
}

/// Which image they go to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// One that has all its clusters.
    Full,
    /// One that has none.
    Fresh,
    /// One that has none, so many images above one that has all.
    Above(usize),
}

/// From one request to the next where they go all over the image: see
/// [`files`](crate::files).
const STRIDE: &str = "1069056";

const SMALL: Load = Load {
    name: "read of 4 KiB",
    depths: &["1", "32"],
    image: Which::Full,
    size: "4096",
    step: STRIDE,
    write: false,
    has_profile: true,
};

const LOADS: [Load; 7] = [
    SMALL,
    Load {
        name: "write of 4 KiB",
        write: true,
        ..SMALL
    },
    Load {
        name: "write of 4 KiB to a new cluster",
        image: Which::Fresh,
        step: "65536",
        write: true,
        ..SMALL
    },
    Load {
        name: "read of 4 KiB below 1 image",
        image: Which::Above(1),
        has_profile: false,
        ..SMALL
    },
    Load {
        name: "read of 4 KiB below 8 images",
        image: Which::Above(8),
        ..SMALL
    },
    Load {
        name: "read of 1 MiB",
        depths: &["1"],
        size: "1048576",
        step: "1048576",
        has_profile: false,
        ..SMALL
    },
    Load {
        name: "write of 1 MiB",
        depths: &["1"],
        size: "1048576",
        step: "1048576",
        write: true,
        has_profile: false,
        ..SMALL
    },
];

/// How many clusters of a fresh image are written to, at most: QEMU fills
/// them, and the file may be in memory.
const NEW_CLUSTERS: u64 = 4096;

/// Images made by QEMU's tools, for everybody.
struct Images {
    directory: TempDir,
}

impl Images {
    fn create(options: &Options, parent: &Path) -> Result<Images, Failure> {
        let directory = directory(parent)?;
        let images = Images { directory };
        let size = match options.quick {
            true => "64M",
            false => "1G",
        };
        images.qemu_img(&["create", "-q", "-f", "qcow2"], "fresh", &["1G"])?;
        images.qemu_img(&["create", "-q", "-f", "qcow2"], "full", &[size])?;
        let mut fill = Command::new(QEMU_IO.path()?);
        fill.args(["-f", "qcow2", "-c"]);
        fill.arg(format!("write -q -P 170 0 {size}"));
        tools::succeed(fill.arg(images.path("full")))?;
        let mut below = "full".to_owned();
        for level in 1..=8 {
            let name = format!("above-{level}");
            let create = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", &below];
            images.qemu_img(&create, &name, &[])?;
            below = name;
        }
        Ok(images)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn qemu_img(&self, before: &[&str], name: &str, after: &[&str]) -> Result<(), Failure> {
        let mut command = Command::new(QEMU_IMG.path()?);
        command.args(before).arg(self.path(name)).args(after);
        tools::succeed(&mut command).map(drop)
    }

    /// Ours, QEMU with each engine, and perhaps imago.
    fn contestants(
        &self,
        options: &Options,
        load: &Load,
        depth: &str,
    ) -> Result<Vec<Contestant>, Failure> {
        let path = match load.image {
            Which::Full => self.path("full"),
            Which::Fresh => self.path("written"),
            Which::Above(levels) => self.path(&format!("above-{levels}")),
        };
        let name = name(&path)?;
        let how = ["-d", depth, "-s", load.size, "-S", load.step];
        let write: &[&str] = if load.write { &["-w"] } else { &[] };
        let node = node(name);
        let mut all = vec![Contestant::work(
            &[&["layer", &node], &how[..], write].concat(),
        )?];
        for engine in ["threads", "io_uring"] {
            let before = ["-f", "qcow2", "-t", "writeback", "-i", engine, name];
            let qemu = Contestant::qemu_img(&[&before, &how[..], write].concat())?;
            all.push(qemu.with_helpers());
        }
        if let Some(program) = &options.imago {
            let arguments = [&["bench", name], &how[..], write].concat();
            all.push(Contestant::program(program.clone(), &arguments));
        }
        if load.image == Which::Fresh {
            let fresh = |each: Contestant| each.on_fresh(&self.path("fresh"), &path, NEW_CLUSTERS);
            all = all.into_iter().map(fresh).collect();
        }
        Ok(all)
    }
}

/// A directory for images, which goes when it is dropped.
pub(crate) fn directory(parent: &Path) -> Result<TempDir, Failure> {
    let mut directory = tempfile::Builder::new();
    let directory = directory.prefix("measure-").tempdir_in(parent);
    directory.map_err(|error| Failure::File {
        path: parent.to_owned(),
        error,
    })
}

/// A path, as options of a node take it.
pub(crate) fn name(path: &Path) -> Result<&str, Failure> {
    let name = path.to_str().filter(|name| !name.contains(','));
    name.ok_or(Failure::Usage(
        "the directory's name must be UTF-8 without a comma",
    ))
}

fn node(name: &str) -> String {
    format!("driver=qcow2,file.driver=file,file.filename={name}")
}

/// The cells of a row, and where our instructions go.
fn compare(
    options: &Options,
    contestants: &[Contestant],
    profile: bool,
) -> Result<(Vec<Cell>, Vec<String>), Failure> {
    let times = contest(options, contestants)?;
    let ours = times[0];
    let qemu = better(times[1], times[2]);
    let imago = times.get(3).copied();
    let mut cells = vec![Cell::None, Cell::None, Cell::None, Cell::None];
    let mut lines = Vec::new();
    if profile {
        let count = |contestant: &Contestant| -> Result<Instructions, Failure> {
            let Counts(few, many) = REQUESTS;
            // There may be no more new clusters.
            let counts = Counts(few / 2, many / 2);
            callgrind::count(options, contestant, counts, contestant.is_own())
        };
        let ours = count(&contestants[0])?;
        let qemu = count(&contestants[1])?.each;
        cells = vec![
            Cell::figure(ours.each, 0),
            Cell::figure(qemu, 0),
            match contestants.get(3) {
                Some(imago) => Cell::figure(count(imago)?.each, 0),
                None => Cell::None,
            },
            Cell::figure(ours.each / qemu, 3),
        ];
        lines = ours.lines();
    }
    cells.extend([
        ours.cell_us(),
        qemu.cell_us(),
        imago.map_or(Cell::None, Time::cell_us),
        ours.ratio(qemu),
        imago.map_or(Cell::None, |imago| ours.ratio(imago)),
    ]);
    Ok((cells, lines))
}

fn better(a: Time, b: Time) -> Time {
    match a.nanoseconds <= b.nanoseconds {
        true => a,
        false => b,
    }
}

/// What is done once to an image, by a process of its own.
fn once(options: &Options) -> Result<Table, Failure> {
    let mut table = Table::new(
        "Making and opening qcow2 images",
        "Whole processes, in ms: an image of 1 GiB is made; a chain of empty images is opened and \
         each asked for its information (`qemu-img info --backing-chain`, and `qemu-io -r` which \
         only opens it; imago only opens it). Files in memory. Instructions in millions.",
        &[
            "what",
            "instructions",
            "`qemu-img`",
            "imago",
            "ms",
            "`qemu-img`",
            "`qemu-io`",
            "imago",
            "part of `qemu-img`'s",
        ],
    );
    let directory = directory(&options.tmpfs)?;
    let new = directory.path().join("new");
    let size = (1_u64 << 30).to_string();
    let img = QEMU_IMG.path()?;
    let path = name(&new)?;
    let mut contestants = vec![
        Contestant::whole_work(&["create", path, &size])?,
        Contestant::whole(img.clone(), &["create", "-q", "-f", "qcow2", path, &size]),
    ];
    if let Some(imago) = &options.imago {
        contestants.push(Contestant::whole(imago.clone(), &["create", path, &size]));
    }
    let contestants: Vec<_> = contestants
        .into_iter()
        .map(|each| each.on_nothing(&new))
        .collect();
    options.say("qcow2: create");
    let times = contest(options, &contestants)?;
    let imago = |at: usize| times.get(at).map_or(Cell::None, |time| time.cell_ms());
    let mut row = vec!["create".into()];
    // callgrind lets no other thread run while a loop waits on its io_uring.
    row.extend([Cell::None, Cell::None, Cell::None]);
    row.extend([
        times[0].cell_ms(),
        times[1].cell_ms(),
        Cell::None,
        imago(2),
        times[0].ratio(times[1]),
    ]);
    table.row(row);

    let link = |level: u32| format!("link-{level}");
    let mut made = 0;
    let depths: &[u32] = match options.quick {
        true => &[1, 10],
        false => &[1, 10, 50, 100, 200],
    };
    for &depth in depths {
        options.say(&format!("qcow2: open a chain of {depth}"));
        while made < depth {
            let mut command = Command::new(&img);
            command.args(["create", "-q", "-f", "qcow2"]);
            if made > 0 {
                command.args(["-u", "-F", "qcow2", "-b"]).arg(link(made));
            }
            made += 1;
            let path = directory.path().join(link(made));
            tools::succeed(command.arg(path).arg(&size))?;
        }
        let top = directory.path().join(link(depth));
        let top = name(&top)?;
        let io = QEMU_IO.path()?;
        let mut contestants = vec![
            Contestant::whole_work(&["open", &node(top)])?,
            Contestant::whole(img.clone(), &["info", "--backing-chain", top]),
            Contestant::whole(io, &["-r", "-f", "qcow2", "-c", "quit", top]),
        ];
        if let Some(imago) = &options.imago {
            contestants.push(Contestant::whole(imago.clone(), &["open", top]));
        }
        let times = contest(options, &contestants)?;
        let mut row = vec![format!("open a chain of {depth}").into()];
        row.extend(millions(
            &[&contestants[0], &contestants[1]],
            contestants.get(3),
        )?);
        row.extend([
            times[0].cell_ms(),
            times[1].cell_ms(),
            times[2].cell_ms(),
            times.get(3).map_or(Cell::None, |time| time.cell_ms()),
            times[0].ratio(times[1]),
        ]);
        table.row(row);
    }
    Ok(table)
}

/// The instructions of two contestants and perhaps a third, in millions.
fn millions(two: &[&Contestant; 2], third: Option<&Contestant>) -> Result<Vec<Cell>, Failure> {
    let count = |contestant: &Contestant| -> Result<Cell, Failure> {
        Ok(Cell::figure(callgrind::count_once(contestant)? / 1e6, 2))
    };
    Ok(vec![
        count(two[0])?,
        count(two[1])?,
        third.map_or(Ok(Cell::None), count)?,
    ])
}
