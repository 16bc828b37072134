//! What can go wrong, in QEMU's words where QEMU has words for it.
//!
//! [`GraphError`] is for operations on the graph, [`IoError`] for requests.
//! Each knows its [errno](IoError::errno), so that a caller which speaks
//! errno (a guest device, NBD) loses nothing.

use std::borrow::Cow;
use std::fmt;
use std::io;

use crate::Perm;

/// Errno values that the block layer itself returns.
///
/// Linux numbers; the values of the kernel's own errors are passed through
/// inside [`IoError::Os`].
pub mod errno {
    /// Operation not permitted.
    pub const EPERM: i32 = 1;
    /// No such file or directory.
    pub const ENOENT: i32 = 2;
    /// Input/output error.
    pub const EIO: i32 = 5;
    /// Resource temporarily unavailable: somebody else has the lock.
    pub const EAGAIN: i32 = 11;
    /// Permission denied.
    pub const EACCES: i32 = 13;
    /// Device or resource busy.
    pub const EBUSY: i32 = 16;
    /// Invalid argument.
    pub const EINVAL: i32 = 22;
    /// File too large.
    pub const EFBIG: i32 = 27;
    /// No space left on device.
    pub const ENOSPC: i32 = 28;
    /// Operation not supported.
    pub const ENOTSUP: i32 = 95;
    /// No medium found.
    pub const ENOMEDIUM: i32 = 123;
    /// Operation canceled.
    pub const ECANCELED: i32 = 125;
}

/// Why a request failed.
///
/// A request that fails is reported once, to the one who submitted it.
#[derive(Debug, thiserror::Error)]
#[must_use = "a failed request must be reported or retried"]
pub enum IoError {
    /// The kernel refused it.
    #[error("{}", strerror(.0))]
    Os(#[source] io::Error),
    /// The root has no node below it (`ENOMEDIUM`).
    #[error("No medium inserted")]
    NoMedium,
    /// The node is read-only (`EPERM`).
    #[error("Block node is read-only")]
    ReadOnly,
    /// The node is inactive: another process owns the image (`EPERM`).
    #[error("Block node is inactive")]
    Inactive,
    /// Something in flight overlaps and the request was not to wait
    /// (`EBUSY`).
    #[error("Device or resource busy")]
    Busy,
    /// Refused for the reason in the message.
    #[error("{message}")]
    Refused {
        /// The words.
        message: Cow<'static, str>,
        /// The errno, as a positive number.
        errno: i32,
    },
    /// The edge through which the request came lacks a permission (`EPERM`).
    #[error("Permission '{0}' is required for this request")]
    Permission(Perm),
    /// Offset or length is outside what the layer allows (`EIO`).
    #[error("{0}")]
    OutOfRange(String),
    /// The request ends beyond the end of the node (`EIO`).
    #[error("request of {bytes} bytes at offset {offset} ends beyond the node's length {length}")]
    BeyondEnd {
        /// Where the request begins.
        offset: u64,
        /// How long it is.
        bytes: u64,
        /// How long the node is.
        length: u64,
    },
    /// The driver does not do this (`ENOTSUP`).
    #[error("Operation not supported")]
    NotSupported,
    /// The node has no child of this name (`EINVAL`).
    #[error("node has no child '{0}'")]
    NoChild(&'static str),
    /// The file ended in the middle of a transfer (`EIO`).
    #[error("unexpected end of file at offset {0}")]
    UnexpectedEnd(u64),
    /// The request was cancelled before it finished (`ECANCELED`).
    #[error("Operation canceled")]
    Cancelled,
}

impl IoError {
    /// The errno a C caller would see, as a positive number.
    pub fn errno(&self) -> i32 {
        match self {
            IoError::Os(error) => error.raw_os_error().unwrap_or(errno::EIO),
            IoError::NoMedium => errno::ENOMEDIUM,
            IoError::ReadOnly | IoError::Inactive | IoError::Permission(_) => errno::EPERM,
            IoError::Busy => errno::EBUSY,
            IoError::Refused { errno, .. } => *errno,
            IoError::OutOfRange(_) | IoError::BeyondEnd { .. } | IoError::UnexpectedEnd(_) => {
                errno::EIO
            }
            IoError::NotSupported => errno::ENOTSUP,
            IoError::NoChild(_) => errno::EINVAL,
            IoError::Cancelled => errno::ECANCELED,
        }
    }
}

impl IoError {
    /// A refusal in words.
    pub fn refused(errno: i32, message: impl Into<Cow<'static, str>>) -> Self {
        IoError::Refused {
            message: message.into(),
            errno,
        }
    }

    /// The kernel's error of this number.
    pub fn from_errno(errno: i32) -> Self {
        IoError::Os(io::Error::from_raw_os_error(errno))
    }
}

impl From<io::Error> for IoError {
    fn from(error: io::Error) -> Self {
        IoError::Os(error)
    }
}

/// The text of an OS error without Rust's ` (os error N)`.
fn strerror(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// How messages name the parent side of an edge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ParentDescription {
    /// Another node, by name.
    Node(String),
    /// A backend (`BlockBackend`); an empty name for an unnamed one.
    Backend(String),
    /// Anything else, in its own words (`stream job 's0'`).
    Other(String),
}

impl fmt::Display for ParentDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParentDescription::Node(name) => write!(f, "node '{name}'"),
            ParentDescription::Backend(name) if name.is_empty() => {
                f.write_str("an unnamed block device")
            }
            ParentDescription::Backend(name) => write!(f, "block device '{name}'"),
            ParentDescription::Other(words) => f.write_str(words),
        }
    }
}

/// One side of a permission conflict: who, through which edge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConflictSide {
    /// The parent of the edge.
    pub parent: ParentDescription,
    /// The name of the edge, such as `file`.
    pub edge: String,
}

/// Why the graph refused an operation. The graph is then as it was before.
///
/// The texts are QEMU's, to the letter, wherever QEMU 10.0.2 has one.
#[derive(Debug, thiserror::Error)]
#[must_use = "the graph is unchanged; the caller has to know"]
#[non_exhaustive]
pub enum GraphError {
    /// A name that no node can have.
    #[error("Invalid node-name: '{0}'")]
    InvalidNodeName(String),
    /// More than [`MAX_NODE_NAME`](crate::names::MAX_NODE_NAME) bytes.
    #[error("Node name too long")]
    NodeNameTooLong,
    /// Another node has the name.
    #[error("Duplicate nodes with node-name='{0}'")]
    DuplicateNodeName(String),
    /// A backend has the name.
    #[error("node-name={0} is conflicting with a device id")]
    NameIsDevice(String),
    /// Another backend has the name.
    #[error("Device with id '{0}' already exists")]
    DuplicateBackend(String),
    /// A node has the name.
    #[error("Device name '{0}' conflicts with an existing node name")]
    DeviceNameIsNode(String),
    /// Neither a backend nor a node of these names exists.
    #[error("Cannot find device='{device}' nor node-name='{node}'")]
    NotFound {
        /// The device name that was looked up.
        device: String,
        /// The node name that was looked up.
        node: String,
    },
    /// The node is not in the backing chain.
    #[error("'{node}' is not in the backing chain of '{top}'")]
    NotInChain {
        /// The node that was looked for.
        node: String,
        /// Where the chain begins.
        top: String,
    },
    /// The edge is gone, or never existed in this block layer.
    #[error("The edge no longer exists")]
    StaleEdge,
    /// Another child is there than the one that a change was planned for. What
    /// ran in the main loop while the change waited may have put it there.
    #[error("The child '{edge}' of '{parent}' has changed meanwhile")]
    ChildChanged {
        /// The parent.
        parent: String,
        /// The name of the edge.
        edge: String,
    },
    /// Attaching would make a node its own descendant.
    #[error("Making '{child}' a {edge} child of '{parent}' would create a cycle")]
    Cycle {
        /// The node that would become the child.
        child: String,
        /// The name of the edge.
        edge: String,
        /// The node that would become the parent.
        parent: String,
    },
    /// The parent has a child of this name already.
    #[error("The node '{parent}' already has a '{edge}' child")]
    ChildExists {
        /// The parent.
        parent: String,
        /// The name of the edge.
        edge: String,
    },
    /// The parent has no child of this name.
    #[error("Node '{parent}' does not have child '{edge}'")]
    NoSuchChild {
        /// The parent.
        parent: String,
        /// The name of the edge.
        edge: String,
    },
    /// The role contradicts itself or the parent's other children.
    #[error("A child of '{parent}' cannot have the role {role:?}: {reason}")]
    InvalidRole {
        /// The parent.
        parent: String,
        /// The role asked for.
        role: crate::Role,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The driver has no notion of a backing image.
    #[error("Driver '{driver}' of node '{node}' does not support backing files")]
    NoBackingSupport {
        /// The driver's format name.
        driver: String,
        /// The node.
        node: String,
    },
    /// A frozen link would be set to another node.
    #[error("Cannot change frozen '{edge}' link from '{parent}' to '{child}'")]
    FrozenChild {
        /// The name of the edge.
        edge: String,
        /// Its parent.
        parent: String,
        /// The child it must keep.
        child: String,
    },
    /// A frozen link would be moved, or a second time frozen.
    #[error("Cannot change '{edge}' link from '{parent}' to '{child}'")]
    FrozenLink {
        /// The name of the edge.
        edge: String,
        /// Its parent.
        parent: String,
        /// The child it must keep.
        child: String,
    },
    /// A frozen link would follow its parents to another node.
    #[error("Cannot change '{edge}' link to '{child}'")]
    FrozenParent {
        /// The name of the edge.
        edge: String,
        /// The node it points to.
        child: String,
    },
    /// A link to this node must never be frozen.
    #[error("Cannot freeze '{edge}' link to '{child}'")]
    NeverFreeze {
        /// The name of the edge.
        edge: String,
        /// The node that refuses.
        child: String,
    },
    /// A replacement would leave a parent behind that must follow.
    #[error("Should not change '{edge}' link to '{child}'")]
    WouldSkipParent {
        /// The name of the edge.
        edge: String,
        /// The node the edge points to.
        child: String,
    },
    /// The node is going away and takes no new parents.
    #[error("Node '{0}' is being closed")]
    NodeClosing(String),
    /// `append` was given a node that already has something below it.
    #[error("The node '{0}' already has a backing image")]
    AlreadyHasBacking(String),
    /// The node is no filter.
    #[error("Node '{0}' is not a filter")]
    NotAFilter(String),
    /// Two parents cannot use the node at once as they want to.
    #[error(
        "Permission conflict on node '{node}': permissions '{permissions}' are both required by \
         {} (uses node '{node}' as '{}' child) and unshared by {} (uses node '{node}' as '{}' \
         child).", .required.parent, .required.edge, .unshared.parent, .unshared.edge
    )]
    PermissionConflict {
        /// The node that both use.
        node: String,
        /// What one side needs and the other does not share.
        permissions: Perm,
        /// Who needs it. Boxed, like the other side, to keep results small.
        required: Box<ConflictSide>,
        /// Who does not share it.
        unshared: Box<ConflictSide>,
    },
    /// Somebody wants to write to a node that is read-only.
    #[error("Block node is read-only")]
    ReadOnly,
    /// A node with writers would become read-only.
    #[error("Read-only block node '{0}' cannot support read-write users")]
    ReadOnlyWithWriters(String),
    /// Writing without resizing needs a size the alignment divides.
    #[error(
        "Cannot get 'write' permission without 'resize': Image size is not a multiple of request \
         alignment"
    )]
    UnalignedSize,
    /// An inactive node grants nothing but reads.
    #[error("Permission '{0}' unavailable on inactive node")]
    InactivePermission(Perm),
    /// An inactive node cannot be below an active one.
    #[error("Inactive '{child}' can't be a {edge} child of active '{parent}'")]
    InactiveChild {
        /// The inactive node.
        child: String,
        /// The name of the edge.
        edge: String,
        /// The active parent.
        parent: String,
    },
    /// A backend that does not allow it would move to another AioContext.
    #[error("Cannot change iothread of active block backend")]
    ContextOfActiveBackend,
    /// A parent that cannot follow would be moved to another AioContext.
    #[error("Changing iothreads is not supported by {0}")]
    ContextNotSupported(String),
    /// No iothread of this name.
    #[error("Cannot find iothread {0}")]
    NoSuchIoThread(String),
    /// An iothread of this name exists.
    #[error("attempt to add duplicate property '{0}' to object (type 'container')")]
    DuplicateIoThread(String),
    /// The iothread is the home of nodes or backends.
    #[error("object '{0}' is in use, can not be deleted")]
    IoThreadInUse(String),
    /// The node is attached to a backend.
    #[error("Node {0} is in use")]
    NodeInUse(String),
    /// Only nodes that the monitor owns are deleted by name.
    #[error("Node {0} is not owned by the monitor")]
    NotMonitorOwned(String),
    /// Somebody else still refers to the node.
    #[error("Block device {0} is in use")]
    DeviceInUse(String),
    /// The backend of this name has no node.
    #[error("Device '{0}' has no medium")]
    NoMedium(String),
    /// Somebody has blocked the operation on the node.
    #[error("Node '{node}' is busy: {reason}")]
    Blocked {
        /// The node, or the backend above it.
        node: String,
        /// Why it is blocked.
        reason: String,
    },
    /// A node above would stay active while this one does not.
    #[error("Node has active parent node")]
    ActiveParent,
    /// A node could not be given to another process.
    #[error("Failed to inactivate node: {0}")]
    CouldNotInactivate(Box<GraphError>),
    /// The backend has a node already.
    #[error("Block device '{0}' already has a medium")]
    BackendHasNode(String),
    /// A callback of a driver or of a parent refused.
    #[error("{message}")]
    Refused {
        /// Its words.
        message: String,
        /// Its errno.
        errno: i32,
    },
    /// As [`Refused`](GraphError::Refused), with advice for whoever reads the
    /// message. It is no part of the message: see [`hint`](GraphError::hint).
    #[error("{message}")]
    RefusedWithHint {
        /// The words of the refusal.
        message: String,
        /// The advice: a sentence without a line break.
        hint: String,
        /// Its errno.
        errno: i32,
    },
    /// Opening a node failed in a request or a system call.
    #[error("Could not open '{name}': {error}")]
    CouldNotOpen {
        /// What was to be opened.
        name: String,
        /// Why it failed.
        error: IoError,
    },
    /// An image file could not be made.
    #[error("Could not create '{name}': {error}")]
    CouldNotCreate {
        /// What was to be created.
        name: String,
        /// Why it failed.
        error: IoError,
    },
    /// The event loop could not be set up.
    #[error("{0}")]
    EventLoop(String),
    /// A request that the operation depends on failed.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl GraphError {
    /// The errno a C caller would see, as a positive number.
    pub fn errno(&self) -> i32 {
        match self {
            GraphError::FrozenChild { .. }
            | GraphError::FrozenLink { .. }
            | GraphError::FrozenParent { .. }
            | GraphError::NeverFreeze { .. }
            | GraphError::ReadOnly
            | GraphError::ReadOnlyWithWriters(_)
            | GraphError::UnalignedSize
            | GraphError::InactivePermission(_)
            | GraphError::ActiveParent
            | GraphError::ContextOfActiveBackend
            | GraphError::ContextNotSupported(_) => errno::EPERM,
            GraphError::NodeInUse(_)
            | GraphError::NodeClosing(_)
            | GraphError::DeviceInUse(_)
            | GraphError::Blocked { .. }
            | GraphError::ChildChanged { .. }
            | GraphError::IoThreadInUse(_) => errno::EBUSY,
            GraphError::NotFound { .. } | GraphError::NoSuchIoThread(_) => errno::ENOENT,
            GraphError::NoMedium(_) => errno::ENOMEDIUM,
            GraphError::CouldNotInactivate(error) => error.errno(),
            GraphError::Refused { errno, .. } | GraphError::RefusedWithHint { errno, .. } => *errno,
            GraphError::CouldNotOpen { error, .. }
            | GraphError::CouldNotCreate { error, .. }
            | GraphError::Io(error) => error.errno(),
            _ => errno::EINVAL,
        }
    }

    /// Advice that goes with the message (`error_append_hint`). A command
    /// prints it on a line of its own below the message; QMP does not send it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            GraphError::RefusedWithHint { hint, .. } => Some(hint),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_conflict_reads_as_qemu_prints_it() {
        let side = |name: &str| {
            Box::new(ConflictSide {
                parent: ParentDescription::Node(name.into()),
                edge: "file".into(),
            })
        };
        let error = GraphError::PermissionConflict {
            node: "dz".into(),
            permissions: Perm::WRITE,
            required: side("r2"),
            unshared: side("q1"),
        };
        assert_eq!(
            error.to_string(),
            "Permission conflict on node 'dz': permissions 'write' are both required by node 'r2' \
             (uses node 'dz' as 'file' child) and unshared by node 'q1' (uses node 'dz' as 'file' \
             child)."
        );
        assert_eq!(error.errno(), errno::EINVAL);
    }

    #[test]
    fn a_hint_goes_with_the_message_and_not_in_it() {
        let error = GraphError::RefusedWithHint {
            message: "Failed to get \"write\" lock".into(),
            hint: "Is another process using the image [a]?".into(),
            errno: errno::EAGAIN,
        };
        assert_eq!(error.to_string(), "Failed to get \"write\" lock");
        let hint = error.hint();
        assert_eq!(hint, Some("Is another process using the image [a]?"));
        assert_eq!(error.errno(), errno::EAGAIN);
        assert_eq!(GraphError::ReadOnly.hint(), None);
    }

    #[test]
    fn parents_are_described_by_kind() {
        assert_eq!(
            ParentDescription::Backend(String::new()).to_string(),
            "an unnamed block device"
        );
        assert_eq!(
            ParentDescription::Backend("sda".into()).to_string(),
            "block device 'sda'"
        );
    }

    #[test]
    fn os_errors_read_like_strerror() {
        let error = IoError::from(io::Error::from_raw_os_error(errno::ENOSPC));
        assert_eq!(error.to_string(), "No space left on device");
        assert_eq!(error.errno(), errno::ENOSPC);
    }
}
