//! Devices whose zones are written from their beginning to their end.

use block_common::{WriteFlags, limits};

use crate::after::After;
use crate::{IoFuture, Request, Source};

/// A zone of a device (`BlockZoneDescriptor`). All numbers are bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Zone {
    /// Where it begins.
    pub start: u64,
    /// How far the next one is.
    pub length: u64,
    /// How much of it can be written.
    pub capacity: u64,
    /// Where the next write goes.
    pub write_pointer: u64,
    /// Whether writes have to be in order.
    pub kind: ZoneKind,
    /// What state it is in.
    pub state: ZoneState,
}

/// How a zone may be written (`BlockZoneType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZoneKind {
    /// Anywhere.
    Conventional,
    /// At its write pointer only.
    SequentialRequired,
    /// At its write pointer, preferably.
    SequentialPreferred,
}

/// What state a zone is in (`BlockZoneState`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZoneState {
    /// It has no write pointer.
    NotWritePointer,
    /// Nothing is in it.
    Empty,
    /// A write has opened it.
    ImplicitlyOpen,
    /// A command has opened it.
    ExplicitlyOpen,
    /// Closed, and not full.
    Closed,
    /// It cannot be written.
    ReadOnly,
    /// Full.
    Full,
    /// It can be neither read nor written.
    Offline,
}

/// What can be done with zones (`BlockZoneOp`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZoneOperation {
    /// Open them.
    Open,
    /// Close them.
    Close,
    /// Make them full.
    Finish,
    /// Empty them.
    Reset,
}

impl<'r> Request<'r> {
    /// The zones from the one at `offset` on, at most so many
    /// (`bdrv_co_zone_report`).
    ///
    /// # Errors
    /// [`IoError::NotSupported`](crate::IoError::NotSupported) for what has no
    /// zones; otherwise the driver's.
    pub fn zones(self, offset: u64, most: usize) -> IoFuture<'r, Vec<Zone>> {
        match limits::check_request(offset, 0) {
            Ok(()) => self.node().driver().zones(self, offset, most),
            Err(error) => IoFuture::failed(error),
        }
    }

    /// Does something with all zones of a range (`bdrv_co_zone_mgmt`).
    ///
    /// # Errors
    /// As [`zones`](Request::zones), and those of a write.
    pub fn manage_zones(self, operation: ZoneOperation, offset: u64, bytes: u64) -> IoFuture<'r> {
        let checked = limits::check_request(offset, bytes)
            .and_then(|()| self.check_writable(WriteFlags::empty()));
        let driver = self.node().driver();
        match checked {
            Ok(()) => driver
                .manage_zones(self, operation, offset, bytes)
                .then(After::void_only(self.node(), 0..u64::MAX)),
            Err(error) => IoFuture::failed(error),
        }
    }

    /// Writes at the write pointer of the zone that begins at `offset`, and
    /// says where that was (`bdrv_co_zone_append`).
    ///
    /// # Errors
    /// As [`manage_zones`](Request::manage_zones).
    pub fn append_to_zone(
        self,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r, u64> {
        let checked = limits::check_request(offset, from.len() as u64)
            .and_then(|()| self.check_writable(flags));
        let driver = self.node().driver();
        match checked {
            Ok(()) => driver.append_to_zone(self, offset, from, flags),
            Err(error) => IoFuture::failed(error),
        }
    }
}
