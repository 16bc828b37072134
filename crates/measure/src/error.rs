//! What can go wrong.

use std::io;
use std::path::PathBuf;

use block_gs::{GraphError, IoError};
use block_open::OpenError;
use proof_cost::WorkError;
use proof_cost::machine_code::CodeError;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A program is not there.
    #[error("'{tool}' is not on PATH; it comes with the package {package}")]
    NoTool {
        /// Its name.
        tool: &'static str,
        /// Where Debian and its kin have it.
        package: &'static str,
    },
    /// A program failed.
    #[error("'{command}' failed: {message}")]
    Command {
        /// The command line.
        command: String,
        /// What it said.
        message: String,
    },
    /// A program has printed no figure where one was expected.
    #[error("'{command}' printed no {what}")]
    NoFigure {
        /// The command line.
        command: String,
        /// What is missing.
        what: &'static str,
    },
    /// A file could not be used.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The system refused something.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
    /// The command line of a contestant makes no sense.
    #[error("{0}")]
    Usage(&'static str),
    /// The block layer refused a graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The block layer refused options.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A request failed.
    #[error("a request failed: {0}")]
    Request(#[from] IoError),
    /// A function with or without a proof could not be run.
    #[error(transparent)]
    Proof(#[from] WorkError),
    /// There is no machine code to look at.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// A source file is not Rust.
    #[error("{}: {error}", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Why.
        error: syn::Error,
    },
}

impl Failure {
    /// For `map_err`: `what` was tried.
    pub fn system<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> Failure {
        move |error| Failure::System {
            what,
            error: error.into(),
        }
    }
}
