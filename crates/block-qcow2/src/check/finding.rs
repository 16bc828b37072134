//! What a check finds, in the words of QEMU.

use std::fmt;

use block_io::Finding;

use crate::format::Hex;

/// What has become of something that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is wrong, and stays so.
    Error,
    /// A cluster is counted more often than it is used.
    Leaked,
    /// It is wrong, and is being repaired.
    Repairing,
}

impl Verdict {
    /// Of an error that may be repaired.
    pub(super) fn of(repair: bool) -> Verdict {
        match repair {
            true => Verdict::Repairing,
            false => Verdict::Error,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Error => "ERROR",
            Verdict::Leaked => "Leaked",
            Verdict::Repairing => "Repairing",
        })
    }
}

/// Something that a check of a qcow2 image has found or done
/// ([`block_io::Finding`]). Offsets are in bytes, of the image's file.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Qcow2Finding {
    /// A cluster is not counted as often as it is used.
    Count {
        /// What is done about it.
        verdict: Verdict,
        /// The number of the cluster.
        cluster: u64,
        /// How often the image counts it.
        stored: u64,
        /// How often it is used.
        used: u64,
    },
    /// The count of this cluster cannot be read: the reason.
    NoCount(u64, String),
    /// Something is used that is not in the file: where, and how long.
    BeyondEnd(u64, u64),
    /// The cluster at this offset is used more often than can be counted.
    Overflow(u64),
    /// A first-level table cannot be read.
    L1Unreadable,
    /// A second-level table cannot be read.
    L2Unreadable,
    /// A first-level entry has bits that mean nothing: the entry.
    L1Reserved(u64),
    /// A second-level table is not at the beginning of a cluster: where.
    L2Unaligned(u64),
    /// A second-level entry has bits that mean nothing: the entry.
    L2Reserved(u64),
    /// A compressed cluster claims to be written in place: where it is.
    CompressedCopied(u64),
    /// A compressed cluster in an image whose data is in another file: the
    /// index and the entry.
    CompressedOutside(u64, u64),
    /// A compressed cluster with subclusters: the index and the entry.
    CompressedSubclusters(u64, u64),
    /// Subclusters are data and zeroes at once: where the cluster is.
    SubclusterBitmap(u64),
    /// Subclusters are data, without a cluster.
    SubclustersNowhere,
    /// The data of a cluster is not at the beginning of one: where.
    DataUnaligned(u64),
    /// A cluster of zeroes is not at the beginning of one: where.
    ZeroUnaligned(Verdict, u64),
    /// An entry was to be replaced, and something else is stored there.
    EntryOverlaps,
    /// An entry could not be replaced: the reason.
    EntryUnwritable(String),
    /// Snapshots in an image whose data is in another file: how many.
    SnapshotsOutside(u32),
    /// The first-level table of a snapshot is not at the beginning of a
    /// cluster.
    SnapshotL1Unaligned {
        /// What the image calls the snapshot.
        id: String,
        /// What the user calls it.
        name: String,
        /// Where its table is.
        offset: u64,
    },
    /// The first-level table of a snapshot is too long.
    SnapshotL1Large {
        /// What the image calls the snapshot.
        id: String,
        /// What the user calls it.
        name: String,
        /// How many entries its table has.
        entries: u32,
    },
    /// An entry of the refcount table has bits that mean nothing: which.
    TableReserved(u64),
    /// A refcount block is not at the beginning of a cluster: which.
    BlockUnaligned(u64),
    /// A refcount block is not in the file: which.
    BlockOutside(Verdict, u64),
    /// The file could not be made longer for it; a report says why.
    ResizeReport(String),
    /// And what that means.
    NoResize(String),
    /// The cluster of a refcount block is used for something else: which
    /// block, and how often its cluster is used.
    BlockUsed(u64, u64),
    /// The refcounts are made anew.
    Rebuilding,
    /// They cannot be: the reason.
    RebuildFailed(String),
    /// They were, and are wrong again.
    RebuiltBroken,
    /// They have to be, which was not allowed.
    NeedsRebuild,
    /// A first-level entry is wrong about whether its table is written in
    /// place.
    CopiedTable {
        /// What is done about it.
        verdict: Verdict,
        /// Which entry.
        index: u64,
        /// The entry.
        entry: u64,
        /// How often the table is counted.
        count: u64,
    },
    /// A second-level entry is wrong about whether its cluster is written in
    /// place.
    CopiedCluster {
        /// What is done about it.
        verdict: Verdict,
        /// The entry.
        entry: u64,
        /// How often the cluster is counted.
        count: u64,
    },
    /// A second-level table cannot be read: the reason.
    TableUnreadable(String),
    /// A second-level table is not written because of what else is there: the
    /// reason.
    TableOverlaps(String),
    /// A second-level table cannot be written: the reason.
    TableUnwritable(String),
    /// Something is so wrong that the image is not used any further: how it
    /// is said everywhere.
    Corrupt(String),
    /// There are more snapshots than are supported; so many go.
    DiscardingSnapshots(u32),
    /// The table of snapshots is too long; so many snapshots go.
    DiscardingLongTable(u32),
    /// There are so many snapshots too many.
    TooManySnapshots(u32),
    /// The table of snapshots cannot be: what is wrong.
    SnapshotTable(String),
    /// The table of snapshots cannot be read: what is wrong.
    SnapshotTableUnreadable(String),
    /// How a snapshot's extra data can be given up.
    ExtraDataHint,
    /// A snapshot has too much extra data, which goes: which, how much there
    /// is, and how much may be.
    DiscardingExtraData(u32, u32, u32),
    /// A snapshot does not say all that it has to: which.
    SnapshotIncomplete(Verdict, u32),
    /// How many snapshots there are could not be stored: the reason.
    SnapshotCountUnwritable(String),
    /// The table of snapshots could not be written: the reason.
    SnapshotTableUnwritable(String),
}

impl Finding for Qcow2Finding {
    fn is_report(&self) -> bool {
        matches!(
            self,
            Qcow2Finding::ResizeReport(_)
                | Qcow2Finding::RebuildFailed(_)
                | Qcow2Finding::SnapshotTable(_)
                | Qcow2Finding::SnapshotTableUnreadable(_)
        )
    }
}

impl fmt::Display for Qcow2Finding {
    #[allow(clippy::too_many_lines)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Qcow2Finding as Is;
        match self {
            Is::Count {
                verdict,
                cluster,
                stored,
                used,
            } => write!(
                f,
                "{verdict} cluster {cluster} refcount={stored} reference={used}"
            ),
            Is::NoCount(cluster, reason) => {
                write!(f, "Can't get refcount for cluster {cluster}: {reason}")
            }
            Is::BeyondEnd(offset, size) => write!(
                f,
                "ERROR: counting reference for region exceeding the end of the file by one \
                 cluster or more: offset 0x{offset:x} size 0x{size:x}"
            ),
            Is::Overflow(offset) => write!(
                f,
                "ERROR: overflow cluster offset=0x{offset:x}\nUse qemu-img amend to increase the \
                 refcount entry width or qemu-img convert to create a clean copy if the image \
                 cannot be opened for writing"
            ),
            Is::L1Unreadable => f.write_str("ERROR: I/O error in check_refcounts_l1"),
            Is::L2Unreadable => f.write_str("ERROR: I/O error in check_refcounts_l2"),
            Is::L1Reserved(entry) => {
                write!(f, "ERROR found L1 entry with reserved bits set: {entry:x}")
            }
            Is::L2Unaligned(offset) => write!(
                f,
                "ERROR l2_offset={offset:x}: Table is not cluster aligned; L1 entry corrupted"
            ),
            Is::L2Reserved(entry) => {
                write!(f, "ERROR found l2 entry with reserved bits set: {entry:x}")
            }
            Is::CompressedCopied(offset) => write!(
                f,
                "ERROR: coffset=0x{offset:x}: copied flag must never be set for compressed \
                 clusters"
            ),
            Is::CompressedOutside(index, entry) => write!(
                f,
                "ERROR compressed cluster {index} with data file, entry=0x{entry:x}"
            ),
            Is::CompressedSubclusters(index, entry) => write!(
                f,
                "ERROR compressed cluster {index} with non-zero subcluster allocation bitmap, \
                 entry=0x{entry:x}"
            ),
            Is::SubclusterBitmap(offset) => write!(
                f,
                "ERROR offset={offset:x}: Allocated cluster has corrupted subcluster allocation \
                 bitmap"
            ),
            Is::SubclustersNowhere => {
                f.write_str("ERROR: Unallocated cluster has non-zero subcluster allocation map")
            }
            Is::DataUnaligned(offset) => write!(
                f,
                "ERROR offset={offset:x}: Data cluster is not properly aligned; L2 entry \
                 corrupted."
            ),
            Is::ZeroUnaligned(verdict, offset) => write!(
                f,
                "{verdict} offset={offset:x}: Preallocated cluster is not properly aligned; L2 \
                 entry corrupted."
            ),
            Is::EntryOverlaps => f.write_str("ERROR: Overlap check failed"),
            Is::EntryUnwritable(reason) => {
                write!(f, "ERROR: Failed to overwrite L2 table entry: {reason}")
            }
            Is::SnapshotsOutside(count) => {
                write!(f, "ERROR {count} snapshots in image with data file")
            }
            Is::SnapshotL1Unaligned { id, name, offset } => write!(
                f,
                "ERROR snapshot {id} ({name}) l1_offset={}: L1 table is not cluster aligned; \
                 snapshot table entry corrupted",
                Hex(*offset)
            ),
            Is::SnapshotL1Large { id, name, entries } => write!(
                f,
                "ERROR snapshot {id} ({name}) l1_size={}: L1 table is too large; snapshot table \
                 entry corrupted",
                Hex(u64::from(*entries))
            ),
            Is::TableReserved(index) => {
                write!(
                    f,
                    "ERROR refcount table entry {index} has reserved bits set"
                )
            }
            Is::BlockUnaligned(index) => write!(
                f,
                "ERROR refcount block {index} is not cluster aligned; refcount table entry \
                 corrupted"
            ),
            Is::BlockOutside(verdict, index) => {
                write!(f, "{verdict} refcount block {index} is outside image")
            }
            Is::ResizeReport(reason) => write!(f, "Could not resize file: {reason}"),
            Is::NoResize(reason) => write!(f, "ERROR could not resize image: {reason}"),
            Is::BlockUsed(index, count) => {
                write!(f, "ERROR refcount block {index} refcount={count}")
            }
            Is::Rebuilding => f.write_str("Rebuilding refcount structure"),
            Is::RebuildFailed(reason) => f.write_str(reason),
            Is::RebuiltBroken => f.write_str("ERROR rebuilt refcount structure is still broken"),
            Is::NeedsRebuild => f.write_str("ERROR need to rebuild refcount structures"),
            Is::CopiedTable {
                verdict,
                index,
                entry,
                count,
            } => write!(
                f,
                "{verdict} OFLAG_COPIED L2 cluster: l1_index={index} l1_entry={entry:x} \
                 refcount={count}"
            ),
            Is::CopiedCluster {
                verdict,
                entry,
                count,
            } => write!(
                f,
                "{verdict} OFLAG_COPIED data cluster: l2_entry={entry:x} refcount={count}"
            ),
            Is::TableUnreadable(reason) => write!(f, "ERROR: Could not read L2 table: {reason}"),
            Is::TableOverlaps(reason) => write!(
                f,
                "ERROR: Could not write L2 table; metadata overlap check failed: {reason}"
            ),
            Is::TableUnwritable(reason) => write!(f, "ERROR: Could not write L2 table: {reason}"),
            Is::Corrupt(text) => f.write_str(text),
            Is::DiscardingSnapshots(count) => write!(f, "Discarding {count} overhanging snapshots"),
            Is::DiscardingLongTable(count) => write!(
                f,
                "Discarding {count} overhanging snapshots (snapshot table is too big)"
            ),
            Is::TooManySnapshots(count) => write!(
                f,
                "You can force-remove all {count} overhanging snapshots with qemu-img check -r all"
            ),
            Is::SnapshotTable(reason) => write!(f, "ERROR {reason}"),
            Is::SnapshotTableUnreadable(reason) => {
                write!(f, "ERROR failed to read the snapshot table: {reason}")
            }
            Is::ExtraDataHint => {
                f.write_str("You can force-remove this extra metadata with qemu-img check -r all")
            }
            Is::DiscardingExtraData(index, there, most) => write!(
                f,
                "Discarding too much extra metadata in snapshot table entry {index} ({there} > \
                 {most})"
            ),
            Is::SnapshotIncomplete(verdict, index) => {
                write!(f, "{verdict} snapshot table entry {index} is incomplete")
            }
            Is::SnapshotCountUnwritable(reason) => write!(
                f,
                "ERROR failed to update the snapshot count in the image header: {reason}"
            ),
            Is::SnapshotTableUnwritable(reason) => {
                write!(f, "ERROR failed to update snapshot table: {reason}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_no_prefix_where_c_shows_none() {
        let large = Qcow2Finding::SnapshotL1Large {
            id: "1".into(),
            name: "s".into(),
            entries: 0x4c_4b40,
        };
        assert_eq!(
            large.to_string(),
            "ERROR snapshot 1 (s) l1_size=0x4c4b40: L1 table is too large; snapshot table entry \
             corrupted"
        );
        assert_eq!(
            Qcow2Finding::BeyondEnd(0, 512).to_string(),
            "ERROR: counting reference for region exceeding the end of the file by one cluster \
             or more: offset 0x0 size 0x200"
        );
    }

    #[test]
    fn reports_are_told_from_lines() {
        assert!(Qcow2Finding::SnapshotTable("x".into()).is_report());
        assert!(!Qcow2Finding::ExtraDataHint.is_report());
    }
}
