//! What can go wrong.

use std::path::PathBuf;

/// Why a page or a table could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// A file does not say what a table is made from.
    #[error("{}: {what}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The cases of `ui-tests` cannot be read.
    #[error("ui-tests: {0}")]
    Cases(String),
    /// A program could not be started, or failed.
    #[error("`{command}` {what}")]
    Command {
        /// The words of it.
        command: String,
        /// What happened.
        what: String,
    },
    /// There is no breakage of this name.
    #[error("there is no breakage `{0}`; `evaluation list` names them")]
    NoBreakage(String),
    /// A rule was broken, and nothing noticed.
    #[error("unnoticed: {}", .0.join(", "))]
    Unnoticed(Vec<String>),
}
