//! The command line of the benchmark.

use clap::Args;

/// What the subcommand does, for `--help`.
pub const ABOUT: &str = "\
Sends many requests to an image and prints how long they took. The options and
the lines printed are those of `qemu-img bench`.

Each request begins STEP bytes after the one before; beyond the end of the
image they go on at its beginning. As many requests as DEPTH says are in flight
at a time, from as many tasks that run in the main loop, or with --iothread in
a thread of their own.";

/// Examples, for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quiesce bench -f raw disk.img
      75000 reads of 4 KiB, 64 at a time.
  quiesce bench -f raw -w --pattern 0xa5 --flush-interval 64 scratch.img
      Writes, with a flush for each 64. The contents of the image are lost.
  quiesce bench --image-opts driver=null-co,size=1G -c 1000000 -d 1 --json -q
      What a request costs in the block layer itself, as JSON.
  quiesce bench --iothread 'json:{\"driver\": \"stats\", \"file\": {\"driver\": \"null-co\"}}'
      Through a filter, in an iothread.

Exit codes: 0 all requests succeeded, 1 not (the message says why), 2 wrong
command line";

/// What to measure. Numbers are texts here: what is wrong with them is said
/// in the words that scripts for `qemu-img` know.
#[derive(Args, Clone, Default, Debug)]
pub struct Options {
    /// The image: a file, `json:{...}`, `null-co://`; with --image-opts its options
    #[arg(value_name = "FILENAME")]
    pub filename: Vec<String>,

    /// The format of the image
    #[arg(short, long = "format", value_name = "FMT")]
    pub format: Option<String>,

    /// FILENAME is a set of options: driver=raw,file.filename=disk.img
    #[arg(long)]
    pub image_opts: bool,

    /// An object to make first: throttle-group,id=slow,x-iops-total=100
    #[arg(long, value_name = "OBJECT")]
    pub object: Vec<String>,

    /// How the host caches: none, writeback, unsafe, directsync, writethrough
    #[arg(short = 't', long, value_name = "CACHE", default_value = "writeback")]
    pub cache: String,

    /// Who carries out transfers: threads, native, io_uring
    #[arg(short = 'i', long, value_name = "AIO")]
    pub aio: Option<String>,

    /// As --aio=native
    #[arg(short, long)]
    pub native: bool,

    /// How many requests to send
    #[arg(
        short,
        long,
        value_name = "COUNT",
        default_value = "75000",
        allow_hyphen_values = true
    )]
    pub count: String,

    /// How many of them at a time
    #[arg(
        short,
        long,
        value_name = "DEPTH",
        default_value = "64",
        allow_hyphen_values = true
    )]
    pub depth: String,

    /// The size of each request
    #[arg(
        short = 's',
        long,
        value_name = "SIZE",
        default_value = "4096",
        allow_hyphen_values = true
    )]
    pub buffer_size: String,

    /// From the beginning of a request to that of the next [default: the size]
    #[arg(short = 'S', long, value_name = "SIZE", allow_hyphen_values = true)]
    pub step_size: Option<String>,

    /// Where the first request begins
    #[arg(
        short,
        long,
        value_name = "OFFSET",
        default_value = "0",
        allow_hyphen_values = true
    )]
    pub offset: String,

    /// Write instead of reading: what the image has is lost
    #[arg(short, long)]
    pub write: bool,

    /// The byte to write
    #[arg(
        long,
        value_name = "BYTE",
        default_value = "0",
        allow_hyphen_values = true
    )]
    pub pattern: String,

    /// Flush after this many writes, not less than DEPTH
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    pub flush_interval: Option<String>,

    /// Flush while requests are in flight
    #[arg(long)]
    pub no_drain: bool,

    /// Open the image although others may be writing to it
    #[arg(short = 'U', long)]
    pub force_share: bool,

    /// Run in an iothread instead of the main loop
    #[arg(long)]
    pub iothread: bool,

    /// Print the figures as one JSON object, as the last line of the output
    #[arg(long)]
    pub json: bool,

    /// Print only what went wrong, and with --json the object
    #[arg(short, long)]
    pub quiet: bool,
}
