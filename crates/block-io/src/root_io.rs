//! The rest of what a device does through its root: whatever is not the
//! common path of a read or a write.

use block_common::{BlockLimits, IoError, Perm, StatusFlags, WriteFlags};

use crate::{
    CopyEnd, Destination, IoNode, Root, ScsiCommand, ScsiReply, Source, Zone, ZoneOperation,
};

/// What a device needs to know of the node below, and may tell its guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceLimits {
    /// What requests need (`blk_get_request_alignment`,
    /// `blk_get_max_transfer`, `blk_get_max_iov`). Without a medium offsets
    /// are multiples of a sector, and nothing else is limited.
    pub requests: BlockLimits,
    /// The longest transfer that the guest may be shown
    /// (`blk_get_max_hw_transfer`).
    pub guest_max_transfer: u64,
    /// How many pieces of memory the guest may be shown
    /// (`blk_get_max_hw_iov`).
    pub guest_max_segments: usize,
}

impl DeviceLimits {
    fn of(requests: BlockLimits) -> Self {
        DeviceLimits {
            requests,
            guest_max_transfer: requests.max_transfer_of_hardware(),
            guest_max_segments: requests.max_segments_of_hardware(),
        }
    }
}

/// What is known about the beginning of a range, without where it is stored:
/// that can be said only while the request lasts, by
/// [`Request::block_status_above`](crate::Request::block_status_above).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RangeStatus {
    /// What it is.
    pub flags: StatusFlags,
    /// For how many bytes that is so.
    pub bytes: u64,
    /// How many nodes were asked, from the one below the root on.
    pub depth: usize,
}

/// The other end of a copy: where it goes, and where there.
#[derive(Clone, Copy, Debug)]
pub struct CopyTarget<'a> {
    /// The root that is written through.
    pub root: &'a Root,
    /// Where the range begins there.
    pub offset: u64,
}

/// A sector, in which guests count whatever the disk does.
const SECTOR: u64 = 512;

impl Root {
    /// One compressed write, from beginning to end
    /// (`blk_co_pwrite_compressed`).
    ///
    /// # Errors
    /// As [`write`](Root::write); [`IoError::NotSupported`] of a driver that
    /// does not compress.
    pub async fn write_compressed(&self, offset: u64, from: Source<'_>) -> Result<(), IoError> {
        self.write_with(offset, from, WriteFlags::COMPRESSED).await
    }

    /// Copies `bytes` bytes from here to `to` without reading them, where the
    /// host can (`blk_co_copy_range`).
    ///
    /// Both ends are counted, one after the other: a drained section over
    /// both waits for the copy, and one that comes in between lets it wait
    /// without holding up a section over the other alone.
    ///
    /// # Errors
    /// Those of [`Request::copy_range`](crate::Request::copy_range), and
    /// [`IoError::BeyondEnd`] for either end.
    pub async fn copy_range(
        &self,
        offset: u64,
        to: CopyTarget<'_>,
        bytes: u64,
        flags: WriteFlags,
    ) -> Result<(), IoError> {
        let (from, target) = loop {
            let from = self.begin().await;
            if let Some(target) = to.root.try_begin() {
                break (from, target);
            }
            // The target is drained. Waiting there with a request counted
            // here would stop a section that drains first that, then this.
            drop(from);
            drop(to.root.begin().await);
        };
        let source = from.request()?;
        let request = target.request()?;
        crate::root::check_end(source, offset, bytes).await?;
        to.root.check_write(request, to.offset, bytes).await?;
        let end = CopyEnd {
            request,
            offset: to.offset,
        };
        let flags = to.root.flags(flags);
        source.copy_range(offset, end, bytes, flags).await
    }

    /// Makes all of the node read as zeroes (`blk_make_zero`): what does
    /// already is left alone. `progress` hears how many bytes are done, of
    /// how many.
    ///
    /// # Errors
    /// As [`write_zeroes`](Root::write_zeroes), and those of asking for
    /// status and length. The part that `progress` heard of is done.
    pub async fn make_zero(
        &self,
        flags: WriteFlags,
        mut progress: impl FnMut(u64, u64) + Send,
    ) -> Result<(), IoError> {
        let length = self.length().await?;
        let mut done = 0;
        while done < length {
            let status = self.block_status_above(None, done, length - done).await?;
            if status.bytes == 0 {
                // Somebody has made it shorter.
                return Ok(());
            }
            if !status.flags.contains(StatusFlags::ZERO) {
                self.write_zeroes(done, status.bytes, flags).await?;
            }
            done += status.bytes;
            progress(done, length);
        }
        Ok(())
    }

    /// What is known about the beginning of a range, of the chain down to but
    /// without `base` (`blk_co_block_status_above`).
    ///
    /// # Errors
    /// [`IoError::NoMedium`] without a node; otherwise those of
    /// [`Request::block_status_above`](crate::Request::block_status_above).
    pub async fn block_status_above(
        &self,
        base: Option<&IoNode>,
        offset: u64,
        bytes: u64,
    ) -> Result<RangeStatus, IoError> {
        self.status(base, offset, bytes, true).await
    }

    /// Whether a node above `base` decides what the beginning of the range
    /// reads as, and for how many bytes that is the answer
    /// (`blk_co_is_allocated_above`). The depth is that of the node, 1 for
    /// the one below the root, and 0 if none decides.
    ///
    /// # Errors
    /// As [`block_status_above`](Root::block_status_above).
    pub async fn is_allocated_above(
        &self,
        base: Option<&IoNode>,
        offset: u64,
        bytes: u64,
    ) -> Result<RangeStatus, IoError> {
        let mut status = self.status(base, offset, bytes, false).await?;
        if !status.flags.contains(StatusFlags::ALLOCATED) {
            status.depth = 0;
        }
        Ok(status)
    }

    async fn status(
        &self,
        base: Option<&IoNode>,
        offset: u64,
        bytes: u64,
        precise: bool,
    ) -> Result<RangeStatus, IoError> {
        let in_flight = self.begin().await;
        let request = in_flight.request()?;
        let asked = request.block_status_above(base, offset, bytes, precise);
        let (status, depth) = asked.await?;
        Ok(RangeStatus {
            flags: status.flags,
            bytes: status.bytes,
            depth,
        })
    }

    /// The length of the node below in sectors of 512 bytes, the last of
    /// which may not be whole (`blk_co_nb_sectors`).
    ///
    /// # Errors
    /// As [`length`](Root::length).
    pub async fn sectors(&self) -> Result<u64, IoError> {
        Ok(self.length().await?.div_ceil(SECTOR))
    }

    /// The length to show a guest, in sectors: 0 without a medium, or where
    /// it cannot be found out (`blk_co_get_geometry`).
    pub async fn geometry(&self) -> u64 {
        self.sectors().await.unwrap_or(0)
    }

    /// What requests need, and what a guest may be shown.
    pub async fn limits(&self) -> DeviceLimits {
        let in_flight = self.begin().await;
        match in_flight.request() {
            Ok(request) => DeviceLimits::of(*request.limits()),
            Err(_) => DeviceLimits::of(BlockLimits {
                request_alignment: SECTOR as u32,
                ..BlockLimits::default()
            }),
        }
    }

    /// Whether the node may be written to through here (`blk_is_writable`).
    pub async fn is_writable(&self) -> bool {
        let in_flight = self.begin().await;
        let request = in_flight.request();
        request.is_ok_and(|request| request.perm().contains(Perm::WRITE))
    }

    /// Writes the state of a machine beside the contents
    /// (`blk_save_vmstate`). Without a write cache it is durable afterwards.
    ///
    /// # Errors
    /// [`IoError::NoMedium`] without a node; otherwise those of
    /// [`Request::save_vmstate`](crate::Request::save_vmstate).
    pub async fn save_vmstate(&self, offset: u64, from: Source<'_>) -> Result<(), IoError> {
        let in_flight = self.begin().await;
        let request = in_flight.request()?;
        request.save_vmstate(offset, from).await?;
        if self.has_write_cache() {
            return Ok(());
        }
        request.flush().await
    }

    /// Reads the state of a machine (`blk_load_vmstate`).
    ///
    /// # Errors
    /// As [`save_vmstate`](Root::save_vmstate).
    pub async fn load_vmstate(&self, offset: u64, into: Destination<'_>) -> Result<(), IoError> {
        let in_flight = self.begin().await;
        in_flight.request()?.load_vmstate(offset, into).await
    }

    /// Sends a command to the device of the host (`blk_co_ioctl` with
    /// `SG_IO`).
    ///
    /// # Errors
    /// [`IoError::NoMedium`] without a node; otherwise those of
    /// [`Request::scsi`](crate::Request::scsi).
    pub async fn scsi(&self, command: ScsiCommand) -> Result<ScsiReply, IoError> {
        let in_flight = self.begin().await;
        in_flight.request()?.scsi(command).await
    }

    /// The zones from the one at `offset` on, at most `most`
    /// (`blk_co_zone_report`).
    ///
    /// # Errors
    /// [`IoError::NoMedium`] without a node; otherwise those of
    /// [`Request::zones`](crate::Request::zones).
    pub async fn zones(&self, offset: u64, most: usize) -> Result<Vec<Zone>, IoError> {
        let in_flight = self.begin().await;
        in_flight.request()?.zones(offset, most).await
    }

    /// Does something with all zones of a range (`blk_co_zone_mgmt`).
    ///
    /// # Errors
    /// [`IoError::BeyondEnd`] for a range beyond the node; as
    /// [`zones`](Root::zones) and those of a write.
    pub async fn manage_zones(
        &self,
        operation: ZoneOperation,
        offset: u64,
        bytes: u64,
    ) -> Result<(), IoError> {
        let in_flight = self.begin().await;
        let request = in_flight.request()?;
        crate::root::check_end(request, offset, bytes).await?;
        request.manage_zones(operation, offset, bytes).await
    }

    /// Writes at the write pointer of the zone that begins at `offset`, and
    /// says where that was (`blk_co_zone_append`).
    ///
    /// # Errors
    /// As [`manage_zones`](Root::manage_zones).
    pub async fn append_to_zone(&self, offset: u64, from: Source<'_>) -> Result<u64, IoError> {
        let in_flight = self.begin().await;
        let request = in_flight.request()?;
        crate::root::check_end(request, offset, from.len() as u64).await?;
        let flags = self.flags(WriteFlags::empty());
        request.append_to_zone(offset, from, flags).await
    }
}
