//! `quiesce graph`: draws the graph that options describe.

mod text;

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use block_gs::{BlockLayer, GraphError};
use block_open::{OpenError, Options as NodeOptions, ParseError};
use clap::{Args, ValueEnum};

use crate::draw::{Snapshot, dot, svg};

/// What the subcommand does, for `--help`.
pub const ABOUT: &str = "\
Opens the nodes that options describe, as QMP's blockdev-add would, and draws
the graph: an SVG picture, a DOT file for Graphviz, or a tree for terminals.

The options are JSON: one object, or an array of objects that are opened in
order, so that a later one can refer to an earlier one by its node-name. Images
are opened for writing where that is possible, and not written to.";

/// Examples, for `--help`.
pub const EXAMPLES: &str = r#"Examples:
  quiesce graph '{"driver": "raw", "node-name": "disk",
                  "file": {"driver": "null-co", "size": 1073741824}}'
      Prints
          disk (raw, 1 GiB, writable)
          └─ file ---- RWUZ: #block1 (null-co, 1 GiB, writable)
      The first letters are what the parent does with its child, the others
      what it lets others do: R consistent read, W write, U write unchanged,
      Z resize.
  quiesce graph -o graph.svg graph.json && xdg-open graph.svg
      Draws what the file describes.
  quiesce graph -o - --format dot - < graph.json | dot -Tpdf > graph.pdf
      Reads the standard input and draws with Graphviz.

Two windows of one file, in graph.json:
  [ {"driver": "file", "node-name": "image", "filename": "disk.img"},
    {"driver": "raw", "node-name": "first", "file": "image", "size": 1048576},
    {"driver": "raw", "node-name": "rest", "file": "image", "offset": 1048576} ]

Exit codes: 0 drawn, 1 not (the message says why), 2 wrong command line"#;

/// What to draw, and how.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// JSON options, a file with them, or `-` for the standard input
    ///
    /// JSON options, or the name of a file with them, or `-` for the standard
    /// input. What begins with `{` or `[` is JSON.
    #[arg(value_name = "JSON|FILE|-", allow_hyphen_values = true)]
    pub source: String,

    /// Where to write: a file, or `-` for the standard output
    ///
    /// Where to write: a file whose name ends in .svg, .dot, .gv or .txt, or
    /// `-` for the standard output. Without it a tree is printed.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// What to write, whatever the file is called
    #[arg(long, value_enum)]
    pub format: Option<Format>,

    /// Print a tree for terminals (--format text)
    #[arg(long, conflicts_with = "format")]
    pub text: bool,
}

/// How a graph is shown.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum Format {
    /// A picture that any browser shows
    Svg,
    /// Graphviz's language
    Dot,
    /// A tree for terminals
    Text,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
enum GraphCommandError {
    #[error("cannot read '{name}': {error}")]
    Read { name: String, error: io::Error },
    #[error("cannot write '{name}': {error}")]
    Write { name: String, error: io::Error },
    #[error(
        "cannot tell from '{0}' what to write: choose a name in .svg, .dot or .txt, or --format"
    )]
    UnknownFormat(String),
    #[error(transparent)]
    Parse(#[from] ParseError),
    #[error("node {place}: {error}")]
    Open { place: usize, error: OpenError },
    #[error(transparent)]
    Layer(#[from] GraphError),
}

/// Runs the subcommand.
pub fn main(options: &Options) -> ExitCode {
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough, as `head` has.
        Err(GraphCommandError::Write { error, .. })
            if error.kind() == io::ErrorKind::BrokenPipe =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("quiesce graph: {error}");
            if let GraphCommandError::Open { error, .. } = &error
                && let Some(hint) = error.hint()
            {
                eprintln!("{hint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), GraphCommandError> {
    let format = options.chosen_format()?;
    let described = NodeOptions::list_from_json(&read(&options.source)?)?;
    let snapshot = open(described)?;
    let drawn = match format {
        Format::Svg => svg::render(&snapshot, "Block graph", "as it was opened"),
        Format::Dot => dot::render(&snapshot, "Block graph"),
        Format::Text => text::render(&snapshot),
    };
    write(options.output.as_deref(), &drawn)
}

impl Options {
    fn chosen_format(&self) -> Result<Format, GraphCommandError> {
        let given = self.text.then_some(Format::Text).or(self.format);
        if let Some(format) = given {
            return Ok(format);
        }
        let Some(output) = &self.output else {
            return Ok(Format::Text);
        };
        if output.as_os_str() == "-" {
            return Ok(Format::Svg);
        }
        match output.extension().and_then(|extension| extension.to_str()) {
            Some("svg") => Ok(Format::Svg),
            Some("dot" | "gv") => Ok(Format::Dot),
            Some("txt") => Ok(Format::Text),
            _ => Err(GraphCommandError::UnknownFormat(
                output.display().to_string(),
            )),
        }
    }
}

/// More than this is not read: options end earlier.
const MAX_SOURCE: u64 = 2 << 20;

fn read(source: &str) -> Result<String, GraphCommandError> {
    if source.trim_start().starts_with(['{', '[']) {
        return Ok(source.to_owned());
    }
    let mut text = String::new();
    let read = if source == "-" {
        io::stdin()
            .lock()
            .take(MAX_SOURCE)
            .read_to_string(&mut text)
    } else {
        fs::File::open(source).and_then(|file| file.take(MAX_SOURCE).read_to_string(&mut text))
    };
    read.map_err(|error| GraphCommandError::Read {
        name: source.to_owned(),
        error,
    })?;
    Ok(text)
}

fn open(described: Vec<NodeOptions>) -> Result<Snapshot, GraphCommandError> {
    let layer = BlockLayer::new()?;
    layer.enter(|bql| {
        // Held until the graph has been looked at.
        let mut nodes = Vec::with_capacity(described.len());
        for (place, mut options) in described.into_iter().enumerate() {
            options.set_default("auto-read-only", true);
            let node = block_open::open(bql, options);
            nodes.push(node.map_err(|error| GraphCommandError::Open { place, error })?);
        }
        Ok(Snapshot::take(bql))
    })
}

fn write(output: Option<&Path>, drawn: &str) -> Result<(), GraphCommandError> {
    let (name, outcome) = match output {
        Some(path) if path.as_os_str() != "-" => {
            (path.display().to_string(), fs::write(path, drawn))
        }
        _ => (
            "the standard output".to_owned(),
            io::stdout().lock().write_all(drawn.as_bytes()),
        ),
    };
    outcome.map_err(|error| GraphCommandError::Write { name, error })
}
