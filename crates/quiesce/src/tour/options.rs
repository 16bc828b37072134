//! The options of the tour.

use std::path::PathBuf;

use clap::Args;
use clap::value_parser;

/// What `quiesce help tour` begins with.
pub const ABOUT: &str = "\
Rebuild a block graph below running, verified requests.

Creates image files in a temporary directory, opens a graph over them at home
in two iothreads, and sends reads and writes through it from both. Every byte
read is compared with what it must be. Meanwhile the main thread changes the
graph at random: replaces files below running requests, inserts and drops
filters, moves backends between iothreads, nests drained sections, tries what
must be refused. Each change is licensed by a drained section; a request that
slipped through one, or a write that got lost, would show up as wrong bytes.

One of the disks is a chain of qcow2 images. It grows by snapshots; overlays are
committed; images in the middle are left out, what they had moved up before; and
images are rebased onto copies of their bases, headers included. Each of these
happens once at least, however short the tour. In the end the images are opened
anew by what their headers say, compared, and checked: by quiesce itself, and by
qemu-img if there is one.";

/// How to run the tour.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// How long to run, in seconds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,

    /// Include an existing raw image or block device, read-only
    ///
    /// Include an existing raw image or block device. It is opened read-only.
    /// Up to 512 pieces of 64 KiB, evenly spread, are read before the graph
    /// changes begin and compared with what requests read afterwards.
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,

    /// Write to the image too, the bytes that it has
    ///
    /// Write to the image too: ranges of it are written with the bytes they
    /// have, so its contents stay the same even if the tour is interrupted.
    #[arg(long, requires = "image")]
    pub write_image: bool,

    /// Where all random choices start
    ///
    /// Where all random choices start; without it somewhere else each time.
    /// It is printed with the results. The order in which threads run remains
    /// their own, so two runs are alike and not the same.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Requests in flight per backend, each from a task of its own
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = value_parser!(u64).range(1..=256))]
    pub tasks: u64,

    /// Size of each image that the tour makes, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 4, value_parser = value_parser!(u64).range(1..=256))]
    pub image_size: u64,

    /// Where the tour makes its images [default: the temporary directory]
    ///
    /// Where the tour makes its images (about 20 times the image size altogether),
    /// in a directory of their own that it removes in the end. The default is
    /// the system's temporary directory (TMPDIR).
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Where to put pictures of the graph [default: a new directory]
    ///
    /// Where to put pictures of the graph: before, during and after, and while
    /// the chain of images becomes shorter, as SVG and DOT. The default is a new directory below the temporary one, which
    /// is printed, or with --quiet alone none.
    #[arg(long, value_name = "DIR")]
    pub pictures: Option<PathBuf>,

    /// Print the results as one JSON object, as the last line of the output
    #[arg(long)]
    pub json: bool,

    /// Print no progress and no table, only what went wrong
    ///
    /// Print no progress and no table, only what went wrong, and with --json
    /// the JSON object.
    #[arg(long, short)]
    pub quiet: bool,

    /// Spoil one byte of one read below the graph, to see that it is found
    #[arg(long)]
    pub inject_corruption: bool,
}
