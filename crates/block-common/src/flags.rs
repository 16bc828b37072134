//! What a write may and must do besides writing, and how files grow.

use std::fmt;

bitflags::bitflags! {
    /// Flags of a write or a zero write (`BdrvRequestFlags`).
    ///
    /// Reads have none: what QEMU's `BDRV_REQ_COPY_ON_READ` and
    /// `BDRV_REQ_PREFETCH` ask for are functions of their own here.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct WriteFlags: u8 {
        /// Durable when the write completes (`BDRV_REQ_FUA`). A driver that
        /// cannot do it natively is flushed afterwards.
        const FUA = 0x01;
        /// A zero write may give the space back (`BDRV_REQ_MAY_UNMAP`).
        /// Ignored on a node that was not opened with `discard=unmap`.
        const MAY_UNMAP = 0x02;
        /// Fail with `ENOTSUP` rather than do it the slow way
        /// (`BDRV_REQ_NO_FALLBACK`): zeroes are not written from a buffer.
        const NO_FALLBACK = 0x04;
        /// Store the data compressed (`BDRV_REQ_WRITE_COMPRESSED`).
        const COMPRESSED = 0x08;
        /// What a guest sees does not change (`BDRV_REQ_WRITE_UNCHANGED`), so
        /// [`Perm::WRITE_UNCHANGED`](crate::Perm::WRITE_UNCHANGED) suffices.
        const UNCHANGED = 0x10;
        /// Nothing that overlaps may be in flight at the same time
        /// (`BDRV_REQ_SERIALISING`).
        const SERIALISING = 0x20;
        /// With [`SERIALISING`](WriteFlags::SERIALISING): fail with `EBUSY`
        /// rather than wait (`BDRV_REQ_NO_WAIT`).
        const NO_WAIT = 0x40;
    }
}

/// How the space of a file that grows is provided (`PreallocMode`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Preallocation {
    /// Not at all: a hole.
    #[default]
    Off,
    /// The metadata of the format.
    Metadata,
    /// By the file system, without writing (`posix_fallocate`).
    Falloc,
    /// By writing zeroes.
    Full,
}

impl fmt::Display for Preallocation {
    /// The name as options have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Preallocation::Off => "off",
            Preallocation::Metadata => "metadata",
            Preallocation::Falloc => "falloc",
            Preallocation::Full => "full",
        })
    }
}
