//! What can go wrong, in QEMU's words where QEMU has words for it.

use block_common::error::errno;
use block_gs::{GraphError, IoError};

use crate::options::{MAX_DEPTH, MAX_KEY, MAX_OPTIONS, MAX_TEXT};

/// Why a text is no set of options.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// It is longer than options are read.
    #[error("The options are longer than {MAX_TEXT} bytes")]
    TooLong,
    /// More options than a node is described with.
    #[error("More than {MAX_OPTIONS} options")]
    TooMany,
    /// Objects nested deeper than graphs are opened.
    #[error("Options are nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    /// The key of an option, with those of the objects around it, is too
    /// long. Its beginning.
    #[error("The key '{0}...' is longer than {MAX_KEY} bytes")]
    KeyTooLong(String),
    /// The same key twice.
    #[error("Duplicate option '{0}'")]
    Duplicate(String),
    /// Not JSON, in the parser's words.
    #[error("JSON parse error, {0}")]
    Json(String),
    /// Nothing, where JSON is to be.
    #[error("Expecting a JSON value")]
    NoJson,
    /// JSON, and no object.
    #[error("Invalid JSON object given")]
    NotAnObject,
    /// The key of a `key=value` pair is malformed.
    #[error("Invalid parameter '{0}'")]
    InvalidKey(String),
    /// A key without a value.
    #[error("Expected '=' after parameter '{0}'")]
    NoValue(String),
}

/// Why nothing was opened, or reopened. The graph is as it was before.
#[derive(Debug, thiserror::Error)]
#[must_use = "nothing was opened; the caller has to know"]
#[non_exhaustive]
pub enum OpenError {
    /// The text was no set of options.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// What follows `json:` was not.
    #[error("Could not parse the JSON options: {0}")]
    JsonFilename(#[source] ParseError),
    /// No driver has the name.
    #[error("Unknown driver '{0}'")]
    UnknownDriver(String),
    /// The file name begins with a protocol that no driver has.
    #[error("Unknown protocol '{0}'")]
    UnknownProtocol(String),
    /// The driver is there and may not be used.
    #[error("Driver '{0}' is not whitelisted")]
    NotAllowed(&'static str),
    /// The driver may not be used for nodes that can be written.
    #[error("Driver '{0}' can only be used for read-only devices")]
    AllowedForReading(&'static str),
    /// The beginning of an image, which has to tell what it is.
    #[error("Could not read image for determining its format: {0}")]
    CouldNotProbe(#[source] IoError),
    /// Neither a driver nor something to choose one for.
    #[error("Must specify either driver or file")]
    NoDriver,
    /// The driver needs a child.
    #[error("A block device must be specified for \"{0}\"")]
    NoChild(&'static str),
    /// A child is both referred to and described.
    #[error("Cannot reference an existing block device with additional options or a new filename")]
    ReferenceWithOptions,
    /// A file name, and the child that it would become.
    #[error("Can't specify 'file' and 'filename' options at the same time")]
    FileAndFilename,
    /// The driver opens a file, and was not told which.
    #[error("The '{0}' block driver requires a file name")]
    NoFilename(&'static str),
    /// A format does not know the option.
    #[error("Block format '{driver}' does not support the option '{option}'")]
    FormatOption {
        /// The driver.
        driver: &'static str,
        /// The option.
        option: String,
    },
    /// A protocol does not know the option.
    #[error("Block protocol '{driver}' doesn't support the option '{option}'")]
    ProtocolOption {
        /// The driver.
        driver: &'static str,
        /// The option.
        option: String,
    },
    /// A value that the option cannot have. The whole message.
    #[error("{0}")]
    Value(String),
    /// As [`Value`](OpenError::Value), with advice: see
    /// [`hint`](OpenError::hint).
    #[error("{message}")]
    ValueWithHint {
        /// The whole message.
        message: String,
        /// The advice, in lines.
        hint: String,
    },
    /// The image that a new one is to be based on could not be opened.
    #[error(transparent)]
    Backing(Box<OpenError>),
    /// The image that a header names could not be opened.
    #[error("Could not open backing file: {0}")]
    Below(#[source] Box<OpenError>),
    /// The format, or the file system, has no images so large.
    #[error("The image size is too large for file format '{format}'{advice}")]
    TooLarge {
        /// The format.
        format: &'static str,
        /// What may help, in brackets, or nothing.
        advice: &'static str,
    },
    /// The driver makes no files, and what is there already could not be
    /// opened.
    #[error(
        "Protocol driver '{driver}' does not support creating new images, so an existing image \
         must be selected as the target; however, opening the given target as an existing image \
         failed: {error}"
    )]
    NoExistingImage {
        /// The driver.
        driver: &'static str,
        /// Why it could not.
        #[source]
        error: Box<OpenError>,
    },
    /// The node that the monitor is to own has no name.
    #[error("'node-name' must be specified for the root node")]
    NoNodeName,
    /// The node that is to be reopened is not named.
    #[error("node-name not specified")]
    WhichNode,
    /// No node of this name is there to be reopened.
    #[error("Failed to find node with node-name='{0}'")]
    NoSuchNode(String),
    /// The option has another value, and has to stay as it is while the node
    /// exists.
    #[error("Cannot change the option '{0}'")]
    CannotChange(String),
    /// The option was given, and cannot be taken back while the node exists.
    #[error("Option '{0}' cannot be reset to its default value")]
    CannotReset(String),
    /// Whether the image is to have a backing image has to be said.
    #[error("backing is missing for '{0}'")]
    BackingMissing(String),
    /// The child was put there by a job, which relies on it.
    #[error("Cannot replace implicit {child} child of {node}")]
    ImplicitChild {
        /// The name of the edge.
        child: &'static str,
        /// The node.
        node: String,
    },
    /// The only child of a filter has another name.
    #[error("'{node}' is a {driver} filter node that does not support a {child} child")]
    FilterChild {
        /// The node.
        node: String,
        /// Its driver.
        driver: &'static str,
        /// The name of the edge.
        child: &'static str,
    },
    /// The graph, or the driver, refused.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl OpenError {
    /// The errno a C caller would see, as a positive number.
    pub fn errno(&self) -> i32 {
        match self {
            OpenError::Graph(error) => error.errno(),
            OpenError::UnknownProtocol(_) => errno::ENOENT,
            OpenError::NotAllowed(_) | OpenError::AllowedForReading(_) => errno::ENOTSUP,
            OpenError::CouldNotProbe(error) => error.errno(),
            OpenError::Backing(error)
            | OpenError::Below(error)
            | OpenError::NoExistingImage { error, .. } => error.errno(),
            OpenError::TooLarge { .. } => errno::EFBIG,
            OpenError::ImplicitChild { .. } => errno::EPERM,
            _ => errno::EINVAL,
        }
    }

    /// What to do about it, where more than the message can be said: for
    /// people, in lines of its own.
    pub fn hint(&self) -> Option<String> {
        match self {
            OpenError::UnknownDriver(_) => {
                let names: Vec<&str> = crate::drivers().iter().map(|known| known.name).collect();
                Some(format!("Known drivers: {}", names.join(", ")))
            }
            OpenError::ValueWithHint { hint, .. } => Some(hint.clone()),
            OpenError::Backing(error) => {
                let why = error
                    .hint()
                    .filter(|_| !matches!(**error, OpenError::UnknownDriver(_)));
                let why = why.map(|why| why + "\n").unwrap_or_default();
                Some(why + "Could not open backing image.")
            }
            // QEMU lets the names of drivers be guessed.
            OpenError::Below(error) | OpenError::NoExistingImage { error, .. } => match **error {
                OpenError::UnknownDriver(_) => None,
                ref error => error.hint(),
            },
            OpenError::Graph(error) => error.hint().map(str::to_owned),
            _ => None,
        }
    }
}
