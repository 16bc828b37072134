//! Commands in a device's own language.

use std::time::Duration;

use crate::after::After;
use crate::{IoFuture, Request};

/// A SCSI command for a device of the host (`SG_IO`). It owns its memory, so
/// it may be carried out although nobody waits any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScsiCommand {
    /// The command block, up to 255 bytes.
    pub command: Vec<u8>,
    /// What is transferred with it.
    pub transfer: ScsiTransfer,
    /// How long it may take.
    pub timeout: Duration,
}

/// What a SCSI command transfers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ScsiTransfer {
    /// Nothing at all.
    Nothing,
    /// These bytes to the device.
    ToDevice(Vec<u8>),
    /// At most so many bytes from the device.
    FromDevice(usize),
}

/// How a device answered a SCSI command. A command that the device refuses
/// has an answer too.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScsiReply {
    /// SCSI status; 0 is good.
    pub status: u8,
    /// What the host adapter says; 0 is good.
    pub host_status: u16,
    /// What its driver says; 0 is good.
    pub driver_status: u16,
    /// Sense data, if there is some.
    pub sense: Vec<u8>,
    /// What was transferred from the device.
    pub data: Vec<u8>,
}

impl<'r> Request<'r> {
    /// Sends a command to the device (`bdrv_co_ioctl` with `SG_IO`).
    ///
    /// # Errors
    /// [`IoError::NotSupported`](crate::IoError::NotSupported) for what is no
    /// device; otherwise the kernel's.
    pub fn scsi(self, command: ScsiCommand) -> IoFuture<'r, ScsiReply> {
        let running = self.node().driver().scsi(self, command);
        running.then(After::void_only(self.node(), 0..u64::MAX))
    }
}
