//! What bitmaps refuse.

use crate::error::errno;
use crate::{GraphError, IoError};

/// Why a bitmap refused an operation. It is then as it was before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// More than [`MAX_LENGTH`](crate::limits::MAX_LENGTH).
    #[error("A bitmap of {0} bytes is too large")]
    TooLarge(u64),
    /// The logarithm of a granularity that no bitmap can have.
    #[error("A granularity of 2^{0} is out of range")]
    Granularity(u32),
    /// Two bitmaps describe ranges of different sizes.
    #[error(
        "Bitmaps are of different sizes (destination size is {to}, source size is {from}) and \
         can't be merged"
    )]
    DifferentSizes {
        /// The size of what is merged into, in bytes.
        to: u64,
        /// The size of what is merged, in bytes.
        from: u64,
    },
    /// The granularity is too coarse for serialisation.
    #[error("A bitmap of granularity 2^{0} cannot be serialised")]
    NotSerializable(u32),
    /// A part to be serialised begins or ends within a word, or lies outside.
    #[error("The part from {start} to {end} does not consist of whole words of the bitmap")]
    Unaligned {
        /// Where the part begins, in bytes of what the bitmap is about.
        start: u64,
        /// Where it ends.
        end: u64,
    },
    /// The buffer has another length than the part when serialised.
    #[error("The part takes {expected} bytes, and the buffer has {found}")]
    BufferLength {
        /// What the part takes.
        expected: u64,
        /// What the buffer has.
        found: u64,
    },
}

/// Why something could not be done with a dirty bitmap of a node. Nothing has
/// changed then.
///
/// The texts are QEMU's, to the letter, wherever QEMU 10.0.2 has one.
#[derive(Debug, thiserror::Error)]
#[must_use = "nothing has been done; the caller has to know"]
#[non_exhaustive]
pub enum BitmapError {
    /// No name was given.
    #[error("Bitmap name cannot be empty")]
    NameEmpty,
    /// More than [`MAX_NAME`](super::MAX_NAME) bytes.
    #[error("Bitmap name too long: {0}")]
    NameTooLong(String),
    /// The node has a bitmap of this name.
    #[error("Bitmap already exists: {0}")]
    Exists(String),
    /// The node has none.
    #[error("Dirty bitmap '{0}' not found")]
    NotFound(String),
    /// There is no such node, whose bitmap was to be used.
    #[error("Node '{0}' not found")]
    NodeNotFound(String),
    /// See [`check_granularity`](super::check_granularity).
    #[error("Granularity must be power of 2 and at least 512")]
    Granularity,
    /// A job or an export uses the bitmap.
    #[error("Bitmap '{0}' is currently in use by another operation and cannot be used")]
    Busy(String),
    /// The bitmap is one of an image that is not written.
    #[error("Bitmap '{0}' is readonly and cannot be modified")]
    ReadOnly(String),
    /// The image was not closed properly, so nobody knows what is missing.
    #[error("Bitmap '{0}' is inconsistent and cannot be used")]
    Inconsistent(String),
    /// A successor was asked for while the bitmap is used.
    #[error("Cannot create a successor for a bitmap that is in-use by an operation")]
    SuccessorWhileBusy,
    /// The driver's image cannot hold bitmaps.
    #[error("Can't store persistent bitmaps to {node}: {error}")]
    NotStorable {
        /// The device, or the node if there is none.
        node: String,
        /// Why.
        error: IoError,
    },
    /// The driver could not store the bitmaps of a node that is closed.
    #[error("Lost persistent bitmaps during inactivation of node '{node}': {error}")]
    Lost {
        /// The node.
        node: String,
        /// Why.
        error: IoError,
    },
    /// How long the node is could not be found out.
    #[error("could not get length of device: {0}")]
    Length(IoError),
    /// A driver refused, in its words.
    #[error(transparent)]
    Driver(IoError),
    /// The bitmap itself refused.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The graph refused.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl BitmapError {
    /// The errno a C caller would see, as a positive number.
    pub fn errno(&self) -> i32 {
        match self {
            BitmapError::Busy(_) | BitmapError::SuccessorWhileBusy => errno::EBUSY,
            BitmapError::ReadOnly(_) => errno::EPERM,
            BitmapError::NotFound(_) | BitmapError::NodeNotFound(_) => errno::ENOENT,
            BitmapError::NotStorable { error, .. }
            | BitmapError::Lost { error, .. }
            | BitmapError::Length(error)
            | BitmapError::Driver(error) => error.errno(),
            BitmapError::Graph(error) => error.errno(),
            _ => errno::EINVAL,
        }
    }

    /// Advice that goes with the message (`error_append_hint`); see
    /// [`GraphError::hint`].
    pub fn hint(&self) -> Option<&str> {
        match self {
            BitmapError::Inconsistent(_) => {
                Some("Try block-dirty-bitmap-remove to delete this bitmap from disk")
            }
            BitmapError::Graph(error) => error.hint(),
            _ => None,
        }
    }
}
