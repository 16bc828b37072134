//! The options of the soak run.

use std::path::PathBuf;

use clap::Args;
use clap::value_parser;

/// What `quiesce help stress` begins with.
pub const ABOUT: &str = "\
Send all kinds of requests while errors, cancellations and graph changes come
at random, and compare every byte with a model.

Several disks, each a graph of nodes over a file in a temporary directory, get
reads, writes, zero writes, discards, flushes, truncations, copies and status
queries from several iothreads. Requests are made to fail and to take their
time, and many are dropped half way. Meanwhile the main thread inserts and drops
filters, swaps files, moves disks between threads, drains, and tries what must
be refused. A model knows for each byte which values it can have; in the end
the files themselves are compared with it, and nothing may be left behind.";

/// What `quiesce help stress` ends with.
pub const EXAMPLES: &str = "\
Examples:
  quiesce stress
      Half a minute of it.
  quiesce stress --seconds 3600 --seed 7 --dir /mnt/disk
      An hour, with the same choices each time, on another file system.
  quiesce stress --json --quiet | tail -n 1
      One JSON object, for scripts.

Exit codes:
  0  every byte was as it should be (also after Ctrl-C)
  1  the run could not begin: the message says what to do
  2  the command line was wrong
  3  something was wrong; images and a picture of the graph are kept
  4  nothing moved for half a minute (a deadlock)";

/// How to run it.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// How long to run, in seconds
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = value_parser!(u64).range(1..=604_800))]
    pub seconds: u64,

    /// Where all random choices start
    ///
    /// Where all random choices start; without it somewhere else each time.
    /// It is printed with the results. The order in which threads run remains
    /// their own, so two runs are alike and not the same.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Threads that run requests, beside the main loop
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = value_parser!(u64).range(1..=64))]
    pub iothreads: u64,

    /// Disks, each with a file and a model of its own
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = value_parser!(u64).range(1..=64))]
    pub disks: u64,

    /// Tasks that send requests to one disk
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = value_parser!(u64).range(1..=64))]
    pub tasks: u64,

    /// Size of each disk in the beginning, in KiB
    #[arg(long, value_name = "KIB", default_value_t = 512, value_parser = value_parser!(u64).range(64..=65_536))]
    pub size: u64,

    /// Where the images are made [default: the working directory]
    ///
    /// Where the images are made, in a directory of their own that is removed
    /// in the end unless something was wrong.
    #[arg(
        long,
        value_name = "DIR",
        default_value = ".",
        hide_default_value = true
    )]
    pub dir: PathBuf,

    /// Print the results as one JSON object, as the last line of the output
    #[arg(long)]
    pub json: bool,

    /// Print no progress and no table, only what went wrong
    #[arg(long, short)]
    pub quiet: bool,

    /// Spoil a file behind the block layer, to see that it is found
    #[arg(long)]
    pub inject_corruption: bool,
}
