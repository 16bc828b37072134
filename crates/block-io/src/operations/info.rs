//! What an image says about itself.

use block_common::IoError;

use crate::{IoFuture, Request};

/// What a driver says about its image (`BlockDriverInfo`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DriverInfo {
    /// What the format allocates at once, in bytes; 0 if it has no such unit.
    pub cluster_size: u32,
    /// What it copies at once, in bytes; 0 stands for the cluster size.
    pub subcluster_size: u32,
    /// Where the state of a virtual machine begins, behind the guest's data.
    pub vm_state_offset: u64,
    /// The image was not closed properly.
    pub is_dirty: bool,
    /// Only compressed writes are possible.
    pub needs_compressed_writes: bool,
}

/// The greatest cluster size (`BDRV_MAX_ALIGNMENT`).
const MAX_CLUSTER: u32 = 1 << 30;

impl<'r> Request<'r> {
    /// What the driver says about the image (`bdrv_co_get_info`); for a
    /// filter, what the filtered node says.
    ///
    /// # Errors
    /// [`IoError::NotSupported`] when nothing is known; `EINVAL` for a cluster
    /// size that cannot be; otherwise the driver's.
    pub fn info(self) -> IoFuture<'r, DriverInfo> {
        let sane = |mut info: DriverInfo| {
            if info.subcluster_size == 0 {
                info.subcluster_size = info.cluster_size;
            }
            match info.cluster_size > MAX_CLUSTER {
                true => Err(IoError::from_errno(block_common::error::errno::EINVAL)),
                false => Ok(info),
            }
        };
        match self.node().driver().info(self).into_ready() {
            Ok(info) => IoFuture::ready(info.and_then(sane)),
            Err(running) => IoFuture::new(async move { sane(running.await?) }),
        }
    }

    /// How much of the host's storage the image takes, in bytes, without its
    /// backing images (`bdrv_co_get_allocated_file_size`). A format takes
    /// what the nodes take that hold something of it.
    ///
    /// # Errors
    /// [`IoError::NotSupported`] for a protocol that does not know; otherwise
    /// the drivers'.
    pub fn allocated_size(self) -> IoFuture<'r, u64> {
        self.node().driver().allocated_size(self)
    }

    /// The sum over the children that hold something of the node
    /// (`bdrv_sum_allocated_file_size`).
    pub(crate) fn allocated_below(self) -> IoFuture<'r, u64> {
        if self.children().iter().next().is_none() {
            return IoFuture::failed(IoError::NotSupported);
        }
        IoFuture::new(async move {
            let mut sum: u64 = 0;
            for child in self.holders() {
                sum = sum.saturating_add(child.allocated_size().await?);
            }
            Ok(sum)
        })
    }

    /// The range that holds `bytes` bytes from `offset` on and whole
    /// subclusters, as offset and length (`bdrv_round_to_subclusters`). A
    /// node without subclusters needs no rounding.
    pub async fn round_to_subclusters(self, offset: u64, bytes: u64) -> (u64, u64) {
        let Ok(info) = self.info().await else {
            return (offset, bytes);
        };
        let unit = u64::from(info.subcluster_size);
        let Some(start) = offset.checked_rem(unit).map(|rest| offset - rest) else {
            return (offset, bytes);
        };
        let end = offset.saturating_add(bytes);
        let rounded = end.checked_next_multiple_of(unit).unwrap_or(end);
        (start, rounded - start)
    }

    /// Whether there is an image to be read (`bdrv_co_is_inserted`): by
    /// default, whether all nodes below have one.
    ///
    /// # Errors
    /// When it cannot be found out.
    pub fn is_inserted(self) -> IoFuture<'r, bool> {
        self.node().driver().is_inserted(self)
    }

    /// Asks each node below whether it has a medium.
    pub(crate) fn is_inserted_below(self) -> IoFuture<'r, bool> {
        if self.children().iter().next().is_none() {
            return IoFuture::ready(Ok(true));
        }
        IoFuture::new(async move {
            for child in self.all_children() {
                if !child.is_inserted().await? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Opens or closes the tray of a drive of the host (`bdrv_co_eject`).
    /// Where there is none, nothing happens.
    ///
    /// # Errors
    /// The driver's.
    pub fn eject(self, open: bool) -> IoFuture<'r> {
        self.node().driver().eject(self, open)
    }

    /// Locks or unlocks the tray of a drive of the host
    /// (`bdrv_co_lock_medium`). Where there is none, nothing happens.
    ///
    /// # Errors
    /// The driver's.
    pub fn lock_medium(self, locked: bool) -> IoFuture<'r> {
        self.node().driver().lock_medium(self, locked)
    }

    /// Whether compressed writes reach a driver that stores them so
    /// (`bdrv_supports_compressed_writes`).
    pub fn supports_compressed_writes(self) -> bool {
        let mut at = self;
        loop {
            let flags = at.node().capabilities().write_flags;
            if !flags.contains(crate::WriteFlags::COMPRESSED) {
                return false;
            }
            match at.filtered() {
                Some(below) => at = below,
                None => return true,
            }
        }
    }
}
