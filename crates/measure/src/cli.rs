//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::work::Work;

/// What this block layer costs, beside QEMU's tools and plain loops.
#[derive(Parser, Debug)]
#[command(
    name = "measure",
    version,
    about = "What this block layer costs, beside QEMU's tools and plain loops",
    long_about = LONG_ABOUT,
    after_long_help = EXAMPLES
)]
pub struct Cli {
    /// What to measure.
    #[command(subcommand)]
    pub command: Command,
    /// How.
    #[command(flatten)]
    pub options: Options,
}

/// What to measure.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// All sections, one after the other
    All,
    /// Requests to null devices: instructions and time, alone and through layers
    Requests,
    /// Requests to files: page cache and direct, beside loops of system calls
    Files,
    /// Images in qcow2 format: requests, new clusters, chains, beside QEMU and imago
    Qcow2,
    /// Images as a whole: made, checked, converted, compared, beside QEMU's tool and cp
    Images,
    /// Drained sections and changes of graphs of 10 to 10 000 nodes; memory of a node
    Graph,
    /// Latency of running requests while the graph below them changes
    Swap,
    /// The proofs: sizes, instructions with and without, and what is written in signatures
    Proofs,
    /// Compiling with proofs and without. Slow, so not part of `all`
    CompileTime,
    /// One contestant, as a process of its own
    #[command(hide = true)]
    Work(Work),
}

/// The parts of `all`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    /// Null devices.
    Requests,
    /// Files.
    Files,
    /// Images in qcow2 format.
    Qcow2,
    /// Images as a whole.
    Images,
    /// Graph changes.
    Graph,
    /// Latency below graph changes.
    Swap,
    /// Proofs.
    Proofs,
    /// Compiling; not in `all`.
    CompileTime,
}

impl Section {
    /// In the order of `all`.
    pub const ALL: [Section; 7] = [
        Section::Requests,
        Section::Files,
        Section::Qcow2,
        Section::Images,
        Section::Graph,
        Section::Swap,
        Section::Proofs,
    ];
}

/// How to measure.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// A smoke run: everything once, shortly. The figures say nothing
    #[arg(long, global = true)]
    pub quick: bool,

    /// Print one JSON array of tables instead of Markdown
    #[arg(long, global = true)]
    pub json: bool,

    /// Do not say on the error output what is being measured
    #[arg(short = 'q', long, global = true)]
    pub quiet: bool,

    /// A directory on a disk, for image files of 256 MiB, and of 1 GiB for `qcow2` and `images`
    #[arg(long, global = true, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,

    /// A directory in memory, for the same
    #[arg(long, global = true, value_name = "DIR", default_value = "/dev/shm")]
    pub tmpfs: PathBuf,

    /// The program `imago-bench` of `crates/measure/peers/imago`, to have imago compared too
    #[arg(long, global = true, value_name = "PROGRAM")]
    pub imago: Option<PathBuf>,

    /// How many clean runs of each contestant to take the least of
    #[arg(long, global = true, value_name = "RUNS", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
}

impl Options {
    /// Says what is being measured.
    pub fn say(&self, what: &str) {
        if !self.quiet {
            eprintln!("{what}");
        }
    }
}

const LONG_ABOUT: &str = "\
What this block layer costs, beside QEMU's tools and plain loops.

Time: each contestant is a process of its own. They run in turns, pinned to one
CPU, until each had RUNS runs in which nobody else had that CPU, or twice as
many runs at all; the least counts. Figures of which no run was clean have an
asterisk.

Instructions: counted by callgrind for two counts of requests, and the
difference divided by the difference. So what a process does once is not in it.

Needs `qemu-img` and `valgrind` with `callgrind_annotate` on PATH, for the
sections `requests`, `files`, `qcow2`, `images` and `graph`, and for `qcow2` `qemu-io`; `proofs` needs `valgrind`, and like
`compile-time` cargo and the sources of this workspace.";

const EXAMPLES: &str = "\
Examples:
  measure all --dir /var/tmp > tables.md
      Everything, on a machine that has nothing else to do.
  measure requests --quick
      Whether it works: the figures say nothing.
  measure swap --json -q
      For scripts.

Exit codes: 0 measured, 1 not (the message says why), 2 wrong command line";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_go_before_and_after_the_section() {
        for line in [
            &["measure", "--quick", "swap"][..],
            &["measure", "swap", "--quick"],
        ] {
            assert!(Cli::parse_from(line).options.quick);
        }
        assert!(Cli::try_parse_from(["measure"]).is_err());
        assert!(Cli::try_parse_from(["measure", "all", "--runs", "0"]).is_err());
    }
}
