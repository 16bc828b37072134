//! What a request does at a node: everything between the one who asks and
//! the driver (`block/io.c`).
//!
//! Each function checks, pads, cuts and waits until the driver gets exactly
//! what its limits allow. Where none of that is needed the driver's own
//! future is returned, so the layer costs a few comparisons.

mod check;
mod copy;
mod copy_on_read;
mod discard;
mod flush;
mod image;
mod info;
mod length;
mod pad;
mod read;
mod scsi;
mod snapshot;
mod status;
mod truncate;
mod vmstate;
mod write;
mod zeroes;
mod zone;

pub use check::{CheckResult, Clusters, Finding, Findings, Repairs, Unheard};
pub use image::{AmendProgress, AmendReady, BackingName};
pub use info::DriverInfo;
pub use scsi::{ScsiCommand, ScsiReply, ScsiTransfer};
pub use status::BlockStatus;
pub use zone::{Zone, ZoneKind, ZoneOperation, ZoneState};

/// The longest buffer the layer makes by itself, in bytes
/// (`MAX_BOUNCE_BUFFER`).
const MAX_BOUNCE: u64 = 16 << 20;
