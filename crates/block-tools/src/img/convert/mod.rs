//! `convert`: an image as another one.
//!
//! | module | what |
//! |---|---|
//! | `copy` | the copying |
//! | `zeroes` | what is worth writing |
//! | `bitmaps` | bitmaps that are copied along |

mod bitmaps;
mod copy;
mod zeroes;

use block_drivers::{Limit, Throttle, ThrottleConfig, ThrottleGroup};
use block_gs::{BqlGuard, GraphError, IoThread, Node};
use block_io::Activity;
use block_open::{Driver, ImageSpec};

use super::call::{Call, Command, Failed, because, fail, number, reason, size};
use super::image::{Image, OpenAs, SECTOR, backend, cache};
use super::progress::Progress;
use super::snapshot::{self, Shown};
use super::source::{add_list, asks_for_help, option_in};
use crate::getopt::Known;
use copy::{Copy, Input};
use zeroes::Sparse;

pub(super) static COMMAND: Command = Command {
    name: "convert",
    about: "Copies an image, or several behind each other, as another image",
    usage: "[-f FMT | --image-opts] [-O FMT] [-o OPTIONS] [-n] [-p] [...] FILE... TARGET",
    help: "\
What is read:
  -f, --source-format FMT   what FILE is; without, it is looked into
      --image-opts          FILE is a string of options
  -l, --snapshot SNAPSHOT   this snapshot of FILE: its name, its ID, or
                            snapshot.id=ID,snapshot.name=NAME
  -T, --source-cache CACHE  how it is read: none, writeback, ...
  -U, --force-share         reads even if somebody else is writing
      --salvage             goes on behind what cannot be read; it becomes zeroes

What is made:
  -O, --output-format FMT   what TARGET is to be; raw without
  -o, --options OPTIONS     options of the format: key=value,...; -o help lists
                            them
  -B, --backing BASE        TARGET has what BASE has wherever it has nothing
                            itself; what FILE has of its own is copied only
  -F, --backing-format FMT  what BASE is
  -c, --compress            writes compressed, if the format can
  -n                        TARGET is there, and not made
      --target-image-opts   TARGET is a string of options; needs -n
      --target-is-zero      TARGET reads as zeroes now; needs -n
  -S, --sparse-size SIZE    leaves out what is so many zeroes in a row, 4k
                            without; 0 writes everything
      --bitmaps             copies the bitmaps kept with FILE, too
      --skip-broken-bitmaps leaves out those that are worth nothing

How:
  -t, --output-cache CACHE  how TARGET is written; unsafe without: nobody waits
                            for the disk
  -m, --parallel N          how many pieces at a time, up to 16; 8 without
  -W, --oob-writes          writes in any order, which is faster on some disks
  -C, --copy-range-offloading
                            lets the host copy where it can
  -r, --rate RATE           writes at most so many bytes a second
  -p                        tells how far it is
  -q, --quiet               says nothing but errors
      --object OBJECT       makes an object that options refer to

If it fails, TARGET is not complete: the exit code is 1.
",
    known: &[
        Known::both('h', "help"),
        Known::both('q', "quiet"),
        Known::letter('p'),
        Known::name("source-image-opts"),
        Known::name("image-opts"),
        Known::both('f', "source-format").value(),
        Known::both('T', "source-cache").value(),
        Known::both('l', "snapshot").value(),
        Known::name("object").value(),
        Known::both('O', "output-format").value(),
        Known::both('o', "options").value(),
        Known::both('t', "output-cache").value(),
        Known::both('W', "oob-writes"),
        Known::name("target-image-opts"),
        Known::letter('c'),
        Known::both('B', "backing").value(),
        Known::both('F', "backing-format").value(),
        Known::letter('n'),
        Known::name("target-is-zero"),
        Known::both('S', "sparse-size").value(),
        Known::name("salvage"),
        Known::name("bitmaps"),
        Known::name("skip-broken-bitmaps"),
        Known::both('U', "force-share"),
        Known::both('r', "rate").value(),
        Known::both('m', "parallel").value(),
        Known::both('C', "copy-range-offloading"),
    ],
    run,
};

/// What is read and written at once: all pieces together fit the caches of the
/// processor, so that what has been read need not be fetched again.
const AT_ONCE: u64 = 512 << 10;
/// At most.
const MOST_AT_ONCE: u64 = 16 << 20;

/// What the options say.
struct Options {
    source_format: Option<String>,
    image_opts: bool,
    source_cache: String,
    force_share: bool,
    shown: Option<Shown>,
    salvage: bool,
    format: Option<String>,
    lists: Vec<String>,
    base: Option<String>,
    base_format: Option<String>,
    compress: bool,
    exists: bool,
    target_image_opts: bool,
    is_zero: bool,
    sparse: Option<u64>,
    bitmaps: bool,
    skip_broken: bool,
    cache: String,
    lanes: u64,
    in_order: bool,
    copy_range: bool,
    rate: u64,
    progress: bool,
    quiet: bool,
}

impl Options {
    fn parse(bql: &mut BqlGuard, call: &Call<'_>) -> Result<Options, Failed> {
        let mut options = Options {
            source_format: None,
            image_opts: false,
            source_cache: "writeback".to_owned(),
            force_share: false,
            shown: None,
            salvage: false,
            format: None,
            lists: Vec::new(),
            base: None,
            base_format: None,
            compress: false,
            exists: false,
            target_image_opts: false,
            is_zero: false,
            sparse: None,
            bitmaps: false,
            skip_broken: false,
            cache: "unsafe".to_owned(),
            lanes: 8,
            in_order: true,
            copy_range: false,
            rate: 0,
            progress: false,
            quiet: false,
        };
        call.each(bql, |name, value| options.set(name, value))?;
        options.check()?;
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Failed> {
        let text = || Some(value.to_owned());
        match name {
            "quiet" => self.quiet = true,
            "p" => self.progress = true,
            "source-format" => self.source_format = text(),
            "source-image-opts" | "image-opts" => self.image_opts = true,
            "source-cache" => value.clone_into(&mut self.source_cache),
            "snapshot" => self.shown = Some(Shown::parse(value)?),
            "output-format" => self.format = text(),
            "target-image-opts" => self.target_image_opts = true,
            "options" => add_list(&mut self.lists, value)?,
            "c" => self.compress = true,
            "output-cache" => value.clone_into(&mut self.cache),
            "backing" => self.base = text(),
            "backing-format" => self.base_format = text(),
            "n" => self.exists = true,
            "target-is-zero" => self.is_zero = true,
            "sparse-size" => self.sparse = Some(sparse_size(value)?),
            "bitmaps" => self.bitmaps = true,
            "skip-broken-bitmaps" => self.skip_broken = true,
            "force-share" => self.force_share = true,
            "rate" => self.rate = size("rate limit", value)?,
            "parallel" => self.lanes = number("number of coroutines", value, 1, 16)?,
            "copy-range-offloading" => self.copy_range = true,
            "salvage" => self.salvage = true,
            "oob-writes" => self.in_order = false,
            _ => {}
        }
        Ok(())
    }

    /// What does not go together.
    fn check(&self) -> Result<(), Failed> {
        let rules = [
            (
                self.skip_broken && !self.bitmaps,
                "Use of --skip-broken-bitmaps requires --bitmaps",
            ),
            (
                self.compress && self.copy_range,
                "Cannot enable copy offloading when -c is used",
            ),
            (
                self.sparse.is_some() && self.copy_range,
                "Cannot enable copy offloading when -S is used",
            ),
            (
                self.copy_range && self.salvage,
                "Cannot use copy offloading in salvaging mode",
            ),
            (
                self.target_image_opts && !self.exists,
                "--target-image-opts requires use of -n flag",
            ),
            (
                self.exists && !self.lists.is_empty(),
                "-o has no effect when skipping image creation",
            ),
            (
                self.is_zero && !self.exists,
                "--target-is-zero requires use of -n flag",
            ),
        ];
        match rules.into_iter().find(|(broken, _)| *broken) {
            Some((_, complaint)) => Err(fail(complaint)),
            None => Ok(()),
        }
    }

    /// What the target is to be.
    fn target_format(&self) -> Option<&str> {
        match &self.format {
            Some(format) => Some(format),
            None if self.target_image_opts => None,
            None => Some("raw"),
        }
    }

    /// How many zeroes in a row are left out.
    fn least_zeroes(&self) -> u64 {
        self.sparse.unwrap_or(4096)
    }

    fn given(&self, key: &str) -> Option<String> {
        option_in(&self.lists, key)
    }

    /// The base of the target.
    fn target_base(&self) -> Option<String> {
        self.given("backing_file").or_else(|| self.base.clone())
    }
}

fn sparse_size(text: &str) -> Result<u64, Failed> {
    let bytes = size("buffer size for sparse output", text)?;
    if bytes % SECTOR != 0 || bytes > MOST_AT_ONCE {
        return Err(fail(format!(
            "Invalid buffer size for sparse output specified. Valid sizes are multiples of \
             {SECTOR} up to {MOST_AT_ONCE}. Select 0 to disable sparse detection (fully allocates \
             output)."
        )));
    }
    Ok(bytes)
}

fn run(bql: &mut BqlGuard, call: &Call<'_>) -> Result<u8, Failed> {
    let options = Options::parse(bql, call)?;
    let (target, sources) = match call.arguments().split_last() {
        Some((target, sources)) if !sources.is_empty() => (Some(target), sources),
        _ => (None, &[][..]),
    };
    if asks_for_help(&options.lists) {
        let format = options.target_format();
        let format = format.ok_or_else(|| fail("Option help requires a format be specified"))?;
        return super::create::tell_options(format, target.map(String::as_str));
    }
    let Some(target) = target else {
        return Err(fail("Must specify image file name"));
    };
    let source_cache = cache(&options.source_cache, "Invalid source cache option")?;
    let progress = Progress::new(options.progress && !options.quiet, 1.0);
    progress.is_at(0.0);
    let with = OpenAs {
        image_opts: options.image_opts,
        format: options.source_format.as_deref(),
        cache: source_cache,
        force_share: options.force_share,
        alone: true,
        ..OpenAs::default()
    };
    let (images, inputs) = open_sources(bql, sources, &with)?;
    let total = total(&inputs)?;
    show_snapshot(bql, &images, options.shown.as_ref())?;
    let base = options.target_base();
    let planned = match options.exists {
        true => None,
        false => Some(plan(bql, &options, target, total)?),
    };
    check_base(&options, base.as_deref(), images.len())?;
    if options.compress {
        check_compression(&options)?;
    }
    if options.bitmaps {
        if images.len() > 1 {
            return Err(fail("Copying bitmaps only possible with single source"));
        }
        bitmaps::check(bql, &images[0].node, options.skip_broken)?;
    }
    if let Some(planned) = planned {
        planned.create_now(bql).map_err(|error| {
            let format = options.target_format().unwrap_or_default();
            because(
                format_args!("{target}: error while converting {format}: "),
                &error,
            )
        })?;
    }
    let opened = open_target(bql, &options, target)?;
    let copy = prepare(bql, &options, &opened, inputs, total, base.is_some())?;
    bql.block_on(copy::run(copy, &progress))?;
    if options.bitmaps {
        let (from, to) = (&images[0].node, &opened.node);
        bitmaps::copy(bql, call, from, to, options.skip_broken)?;
    }
    // Closing says nothing about what could not be written.
    let root = opened.root().clone();
    let flushed = bql.block_on(root.flush());
    flushed.map_err(|error| {
        let reason = reason(&error);
        fail(format!("error while writing at byte {total}: {reason}"))
    })?;
    opened.close(bql);
    progress.is_at(100.0);
    Ok(0)
}

fn open_sources(
    bql: &mut BqlGuard,
    names: &[String],
    with: &OpenAs<'_>,
) -> Result<(Vec<Image>, Vec<Input>), Failed> {
    let mut images = Vec::new();
    let mut inputs = Vec::new();
    for name in names {
        let image = Image::open(bql, name, with)?;
        let contents = image
            .contents(bql)
            .map_err(|error| fail(format!("Could not get size of {name}: {}", reason(&error))))?;
        let view = image.node.view(bql);
        let alignment = u64::from(view.limits().request_alignment).next_multiple_of(SECTOR);
        let base = view.skip_filters().cow_node();
        let base = base.map(|node| node.io().clone());
        let cluster = info(bql, &image.node).map_or(0, |info| u64::from(info.cluster_size));
        inputs.push(Input {
            contents,
            base,
            alignment: alignment.max(cluster - cluster % SECTOR),
        });
        images.push(image);
    }
    Ok((images, inputs))
}

fn info(bql: &mut BqlGuard, node: &Node) -> Option<block_io::DriverInfo> {
    let io = node.io().clone();
    bql.block_on(async {
        let activity = Activity::begin(io).await;
        activity.request().info().await.ok()
    })
}

fn total(inputs: &[Input]) -> Result<u64, Failed> {
    let lengths = inputs.iter().map(|input| input.contents.length());
    let mut lengths = lengths.map(Some);
    let total = lengths.try_fold(0_u64, |sum, length| sum.checked_add(length?));
    let total = total.filter(|total| i64::try_from(*total).is_ok());
    total.ok_or_else(|| fail("The images are too large together"))
}

fn show_snapshot(
    bql: &mut BqlGuard,
    images: &[Image],
    shown: Option<&Shown>,
) -> Result<(), Failed> {
    match shown {
        None => Ok(()),
        Some(Shown::Called(_)) if images.len() > 1 => {
            Err(fail("No support for concatenating multiple snapshot"))
        }
        Some(shown) => snapshot::show(bql, &images[0].node, shown),
    }
}

/// What is going to be made.
fn plan(
    bql: &mut BqlGuard,
    options: &Options,
    target: &str,
    total: u64,
) -> Result<block_open::PlannedImage, Failed> {
    let format = options.target_format().unwrap_or("raw");
    let mut spec = ImageSpec::new(target, format).trust_base(true);
    for list in &options.lists {
        spec = spec.options(list);
    }
    // What the user says about it does not count.
    spec = spec.options(&format!("size={total}"));
    if let Some(base) = &options.base {
        spec = spec.base(base);
        // Said below, where it is missing.
        if options.base_format.is_none() && options.given("backing_fmt").is_none() {
            let known = Driver::find(format).and_then(|driver| driver.create.as_ref());
            if known.is_some_and(|create| create.option("backing_file").is_some()) {
                return Err(fail("Use of backing file requires explicit backing format"));
            }
        }
    } else if options.given("backing_file").is_some() && options.given("backing_fmt").is_none() {
        return Err(fail("Use of backing file requires explicit backing format"));
    }
    if let Some(format) = &options.base_format {
        spec = spec.base_format(format);
    }
    spec.plan(bql).map_err(|error| because("", &error))
}

fn check_base(options: &Options, base: Option<&str>, sources: usize) -> Result<(), Failed> {
    if base.is_none() {
        return Ok(());
    }
    if options.is_zero {
        let text = "Cannot use --target-is-zero when the destination image has a backing file";
        return Err(fail(text));
    }
    if sources > 1 {
        return Err(fail(
            "Having a backing file for the target makes no sense when concatenating multiple \
             input images",
        ));
    }
    Ok(())
}

fn check_compression(options: &Options) -> Result<(), Failed> {
    let driver = options.target_format().filter(|_| !options.exists);
    let driver = driver.and_then(Driver::find);
    if driver.is_some_and(|driver| !driver.can_compress()) {
        return Err(uncompressed());
    }
    let encrypts = options
        .given("encryption")
        .is_some_and(|value| value == "on");
    if encrypts || options.given("encrypt.format").is_some() {
        let text = "Compression and encryption not supported at the same time";
        return Err(fail(text));
    }
    if options
        .given("preallocation")
        .is_some_and(|mode| mode != "off")
    {
        let text = "Compression and preallocation not supported at the same time";
        return Err(fail(text));
    }
    Ok(())
}

fn uncompressed() -> Failed {
    fail("Compression not supported for this file format")
}

fn open_target(bql: &mut BqlGuard, options: &Options, name: &str) -> Result<Image, Failed> {
    let cache = cache(&options.cache, "Invalid cache option")?;
    let with = OpenAs {
        image_opts: options.target_image_opts,
        format: options.target_format(),
        writable: true,
        unmap: options.least_zeroes() > 0,
        // It may have to be made longer, to whole sectors of the disk.
        resizes: cache.direct,
        cache,
        ..OpenAs::default()
    };
    let mut image = Image::open(bql, name, &with)?;
    if options.rate > 0 {
        let slowed = slow_down(bql, &image.node, options.rate);
        let slowed = slowed.map_err(|error| because("", &error))?;
        let perms = image.backend.perms(bql);
        let limited = backend(bql, &slowed, perms.perm, perms.shared);
        let limited = limited.map_err(|error| because("", &error))?;
        limited.set_write_cache(bql, image.root().has_write_cache());
        image.backend = limited;
    }
    Ok(image)
}

/// A filter that lets so many bytes a second through.
fn slow_down(bql: &mut BqlGuard, node: &Node, rate: u64) -> Result<Node, GraphError> {
    let config = ThrottleConfig {
        bps_write: Limit::average(rate),
        ..ThrottleConfig::default()
    };
    let group = ThrottleGroup::new("img_convert", config)?;
    Throttle::over(node).group(&group).open(bql, "")
}

fn prepare(
    bql: &mut BqlGuard,
    options: &Options,
    target: &Image,
    inputs: Vec<Input>,
    total: u64,
    has_backing: bool,
) -> Result<Copy, Failed> {
    let view = target.node.view(bql);
    let format = view.driver().format_name();
    if options.bitmaps && !target.node.supports_persistent_bitmaps(bql) {
        let text = format!("Format driver '{format}' does not support bitmaps");
        return Err(fail(text));
    }
    let compresses = Driver::find(format).is_some_and(Driver::can_compress);
    if options.compress && !compresses {
        return Err(uncompressed());
    }
    let limits = view.limits();
    let has_zeroes = options.is_zero
        || !options.exists && options.least_zeroes() > 0 && !has_backing && view.has_zero_init(bql);
    let below = view.backing_chain_next().map(|below| below.length());
    let contents = target.contents(bql).map_err(|error| {
        let reason = reason(&error);
        fail(format!("unable to get output image length: {reason}"))
    })?;
    if options.exists && contents.length() < total {
        return Err(fail("output file is smaller than input file"));
    }
    let info = info(bql, &target.node);
    let cluster = match info {
        None if options.compress => return Err(fail("could not get block driver info")),
        Some(info) if options.compress || info.needs_compressed_writes => {
            Some(u64::from(info.cluster_size))
        }
        _ => None,
    };
    let best = limits
        .optimal_transfer
        .max(u64::from(limits.discard_alignment));
    let mut at_once = AT_ONCE.max(best).min(MOST_AT_ONCE);
    at_once -= at_once % SECTOR;
    if let Some(cluster) = cluster {
        if cluster < SECTOR || cluster > at_once {
            return Err(fail("invalid cluster size"));
        }
        at_once = cluster;
    }
    let least = options.least_zeroes();
    let floor = match least {
        0 => 1,
        least => 1 << least.ilog2(),
    };
    let alignment = u64::from(limits.request_alignment).max(SECTOR).max(floor);
    let reader = IoThread::create(bql, "convert").map_err(|error| because("", &error))?;
    let mut threads = vec![reader.context().clone()];
    if !options.in_order {
        // Who writes is no longer one alone.
        threads.push(bql.context().clone());
    }
    Ok(Copy {
        inputs,
        target: contents,
        has_zeroes,
        has_backing,
        backing_length: below.filter(|_| !options.exists),
        cluster,
        sparse: Sparse {
            least: least as usize,
            alignment: alignment as usize,
        },
        at_once,
        lanes: options.lanes as usize,
        in_order: options.in_order,
        copy_range: options.copy_range,
        salvage: options.salvage,
        quiet: options.quiet,
        threads,
        writer: bql.context().clone(),
    })
}
