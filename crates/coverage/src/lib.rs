//! Every function and callback of QEMU's block layer, and its place here; every
//! violation recorded in it, and what answers here.
//!
//! `design/api.csv` has a row for each: where it is, in which layer, which
//! proof it takes, which tests call it, or why it is not there. This crate
//! reads the table and the sources of the block layer, and says where the two
//! disagree; its tests fail then. `design/api.md` has the shares, and is made of
//! the table. `design/violations.csv` has a row for each
//! violation, and is checked against the cases and the tests in the same way.
//! `design/labels.csv` has a row for each place where QEMU's label of a function
//! and its layer here differ.
//!
//! | module | what |
//! |---|---|
//! | [`api`] | the public functions of the block layer, from their sources |
//! | [`proof`] | the proofs that functions take |
//! | [`table`] | the rows |
//! | [`exercise`] | the tests, and what they call |
//! | [`check`] | what is wrong with them |
//! | [`shares`] | how much has its place, and the page that says so |
//! | [`callbacks`] | the five tables of callbacks, and their halves here |
//! | [`labels`] | where labels and layers differ, and why |
//! | [`violations`] | the violations, and what answers each |
//! | [`rejection`] | every function with a proof, called without |

#![forbid(unsafe_code)]

pub mod api;
pub mod callbacks;
pub mod check;
pub mod exercise;
pub mod labels;
pub mod proof;
pub mod rejection;
pub mod shares;
pub mod table;
pub mod violations;

use std::path::{Path, PathBuf};

/// What went wrong while something was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// A source does not parse.
    #[error("{}: {error}", path.display())]
    Source {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: syn::Error,
    },
    /// The cases of `ui-tests` cannot be read.
    #[error("{0}")]
    Cases(String),
    /// The compiler cannot be asked.
    #[error("the compiler cannot be asked: {0}")]
    Compiler(String),
    /// The table is no table.
    #[error("{}: {error}", path.display())]
    Table {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: csv::Error,
    },
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package)
}
