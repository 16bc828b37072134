//! What can be wrong with an image, in QEMU's words.

use block_common::error::errno;
use block_common::{GraphError, IoError};

/// Why something is no image, or not one that can be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FormatError {
    /// The magic is missing.
    #[error("Image is not in qcow2 format")]
    NotQcow2,
    /// Neither 2 nor 3.
    #[error("Unsupported qcow2 version {0}")]
    Version(u32),
    /// Outside of [`Limits::CLUSTER_BITS`](super::Limits::CLUSTER_BITS).
    #[error("Unsupported cluster size: 2^{0}")]
    ClusterBits(u32),
    /// Less than its fields need.
    #[error("qcow2 header too short")]
    HeaderTooShort,
    /// More than a cluster.
    #[error("qcow2 header exceeds cluster size")]
    HeaderTooLong,
    /// The name is not in the first cluster.
    #[error("Invalid backing file offset")]
    BackingOffset,
    /// The bit that the compression needs, or must not have.
    #[error("qcow2: Compression type incompatible feature bit must {}be set", if *.0 { "" } else { "not " })]
    CompressionBit(bool),
    /// Not one that is known.
    #[error("qcow2: unknown compression type: {0}")]
    Compression(u8),
    /// Features that nobody here knows.
    #[error("Unsupported qcow2 feature(s): {0}")]
    UnknownFeatures(String),
    /// Clusters are too small to be divided.
    #[error("Unsupported subcluster size: {0}")]
    SubclusterSize(u64),
    /// More than 64 bits.
    #[error("Reference count entry width too large; may not exceed 64 bits")]
    RefcountOrder,
    /// It reaches beyond the first cluster, or the backing name.
    #[error("Header extension too large")]
    ExtensionTooLarge,
    /// More than 15 bytes.
    #[error("ERROR: ext_backing_format: len={0} too large (>=16)")]
    BackingFormat(usize),
    /// There is one, and the image is not encrypted that way.
    #[error("CRYPTO header extension only expected with LUKS encryption method")]
    CryptoExtension,
    /// Not 24 bytes.
    #[error("bitmaps_ext: Invalid extension length")]
    BitmapsLength,
    /// It has to be zero.
    #[error("bitmaps_ext: Reserved field is not zero")]
    BitmapsReserved,
    /// How many, and how many there may be.
    #[error("bitmaps_ext: Image has {0} bitmaps, exceeding the QEMU supported maximum of {1}")]
    BitmapsCount(u32, u32),
    /// An extension for nothing.
    #[error("found bitmaps extension with zero bitmaps")]
    NoBitmaps,
    /// Not at the beginning of a cluster.
    #[error("bitmaps_ext: invalid bitmap directory offset")]
    BitmapsOffset,
    /// How long, and how long it may be.
    #[error("bitmaps_ext: bitmap directory size ({0}) exceeds the maximum supported size ({1})")]
    BitmapsSize(u64, u64),
    /// What is in the directory does not make sense.
    #[error("Broken bitmap directory: {0}")]
    BitmapDirectory(&'static str),
    /// Longer than 1023 bytes, or than there is room.
    #[error("Backing file name too long")]
    BackingName,
    /// All of it does not fit into a cluster.
    #[error("Header and extensions do not fit into a cluster")]
    HeaderFull,
    /// A name in it is no text: written again it would be another one.
    #[error("A name in the header is no text and cannot be written as it was")]
    NameIsNoText,
    /// A table with more entries than are supported.
    #[error("{0} too large")]
    TableTooLarge(&'static str),
    /// A table that is not at the beginning of a cluster, or too far away.
    #[error("{0} offset invalid")]
    TableOffset(&'static str),
    /// There are no reference counts.
    #[error("Image does not contain a reference count table")]
    NoRefcounts,
    /// It has fewer entries than the size of the image needs.
    #[error("L1 table is too small")]
    L1TooSmall,
    /// More than the first-level table can have.
    #[error("Image is too big")]
    TooBig,
    /// A snapshot has more of something than is supported.
    #[error("Too much extra metadata in snapshot table entry {0}")]
    SnapshotExtra(u32),
    /// It does not end where it has to: how many snapshots are beyond that.
    #[error("Snapshot table is too big")]
    SnapshotTable(u32),
    /// Marked as such, and to be written.
    #[error("qcow2: Image is corrupt; cannot be opened read/write")]
    Corrupt,
    /// Encrypted in a way that is known, and that this driver does not do.
    #[error("Encrypted qcow2 images (method {0}) are not supported")]
    Encrypted(u32),
    /// Not a way to encrypt.
    #[error("Unsupported encryption method {}", .0.cast_signed())]
    EncryptionMethod(u32),
}

impl FormatError {
    /// The errno a C caller would see, as a positive number.
    pub fn errno(&self) -> i32 {
        match self {
            FormatError::Version(_)
            | FormatError::Compression(_)
            | FormatError::UnknownFeatures(_)
            | FormatError::Encrypted(_) => errno::ENOTSUP,
            FormatError::Corrupt => errno::EACCES,
            FormatError::TableTooLarge(_)
            | FormatError::TooBig
            | FormatError::SnapshotExtra(_)
            | FormatError::SnapshotTable(_) => 27,
            FormatError::HeaderFull => errno::ENOSPC,
            _ => errno::EINVAL,
        }
    }

    /// What to do about it, where more than the message can be said.
    pub fn hint(&self) -> Option<String> {
        match self {
            FormatError::SnapshotExtra(_) => Some(
                "You can force-remove this extra metadata with qemu-img check -r all".to_owned(),
            ),
            FormatError::SnapshotTable(count) => Some(format!(
                "You can force-remove all {count} overhanging snapshots with qemu-img check -r all"
            )),
            _ => None,
        }
    }
}

impl From<FormatError> for IoError {
    fn from(error: FormatError) -> Self {
        IoError::refused(error.errno(), error.to_string())
    }
}

impl From<FormatError> for GraphError {
    fn from(error: FormatError) -> Self {
        let (message, errno) = (error.to_string(), error.errno());
        match error.hint() {
            Some(hint) => GraphError::RefusedWithHint {
                message,
                hint,
                errno,
            },
            None => GraphError::Refused { message, errno },
        }
    }
}
