//! Roles: what a child is for, and which permissions follow from that.

use crate::Perm;

bitflags::bitflags! {
    /// What a child is to its parent (`BdrvChildRole`).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Role: u8 {
        /// The child holds the parent's data (`BDRV_CHILD_DATA`).
        const DATA = 0x01;
        /// The child holds the parent's metadata (`BDRV_CHILD_METADATA`).
        const METADATA = 0x02;
        /// The parent is a filter: everything of the child shines through
        /// (`BDRV_CHILD_FILTERED`).
        const FILTERED = 0x04;
        /// The child is what the parent does not have itself: a backing
        /// image (`BDRV_CHILD_COW`).
        const COW = 0x08;
        /// The child from which the parent takes its name and geometry;
        /// at most one (`BDRV_CHILD_PRIMARY`).
        const PRIMARY = 0x10;
    }
}

impl Role {
    /// The only child of a format that keeps everything in one file
    /// (`BDRV_CHILD_IMAGE`).
    pub const IMAGE: Role = Role::DATA.union(Role::METADATA).union(Role::PRIMARY);

    /// Whether the combination follows the rules of `block-common.h`: a
    /// backing child is nothing else, a filtered child holds no data of the
    /// parent's own, and a role that says nothing is none.
    pub fn is_valid(self) -> bool {
        if self.contains(Role::COW) {
            return self == Role::COW;
        }
        if self.contains(Role::FILTERED) {
            return !self.intersects(Role::DATA | Role::METADATA);
        }
        self.intersects(Role::DATA | Role::METADATA)
    }
}

/// What the default rules need to know of the parent.
#[derive(Clone, Copy, Debug)]
pub struct ParentState {
    /// Whether the parent is, or after a reopen in progress will be, open for
    /// writing.
    pub writable: bool,
    /// Whether the parent is inactive (another process owns the image).
    pub inactive: bool,
    /// Whether the parent was opened without I/O of its own (`BDRV_O_NO_IO`).
    pub no_io: bool,
}

impl ParentState {
    /// An ordinary open node.
    pub fn active(writable: bool) -> Self {
        ParentState {
            writable,
            inactive: false,
            no_io: false,
        }
    }
}

/// A pair of permission sets: what an edge needs and what it tolerates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PermPair {
    /// What the parent does with the child.
    pub perm: Perm,
    /// What it lets every other parent of that child do.
    pub shared: Perm,
}

/// The permissions that an edge needs by default (`bdrv_default_perms`).
///
/// `cumulative` is what the parent's own parents ask of it and share: the
/// union of their permissions and the intersection of what they share. Any
/// thread, no proof: a pure function of its arguments.
pub fn default_child_perms(role: Role, parent: ParentState, cumulative: PermPair) -> PermPair {
    if role.contains(Role::FILTERED) {
        cumulative
    } else if role.contains(Role::COW) {
        backing_perms(parent, cumulative)
    } else {
        image_perms(role, parent, cumulative)
    }
}

/// A backing image is read only, and must not change under its overlay
/// unless the overlay's own users tolerate that.
fn backing_perms(parent: ParentState, cumulative: PermPair) -> PermPair {
    let mut shared = Perm::CONSISTENT_READ | Perm::WRITE_UNCHANGED;
    if parent.inactive || cumulative.shared.contains(Perm::WRITE) {
        shared |= Perm::WRITE | Perm::RESIZE;
    }
    PermPair {
        perm: cumulative.perm & Perm::CONSISTENT_READ,
        shared,
    }
}

fn image_perms(role: Role, parent: ParentState, cumulative: PermPair) -> PermPair {
    let PermPair {
        mut perm,
        mut shared,
    } = cumulative;
    if role.contains(Role::METADATA) {
        if parent.writable {
            perm |= Perm::WRITE | Perm::RESIZE;
        }
        if !parent.no_io {
            perm |= Perm::CONSISTENT_READ;
        }
        shared -= Perm::WRITE | Perm::RESIZE;
    }
    if role.contains(Role::DATA) {
        // A write that leaves the parent's contents alone may well change
        // the file it lies in, and any write may make the file grow.
        if perm.contains(Perm::WRITE_UNCHANGED) {
            perm |= Perm::WRITE;
        }
        if perm.contains(Perm::WRITE) {
            perm |= Perm::RESIZE;
        }
        shared -= Perm::RESIZE;
    }
    if parent.inactive {
        shared |= Perm::WRITE | Perm::RESIZE;
    }
    PermPair { perm, shared }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READER: PermPair = PermPair {
        perm: Perm::CONSISTENT_READ,
        shared: Perm::all(),
    };
    const WRITER: PermPair = PermPair {
        perm: Perm::CONSISTENT_READ.union(Perm::WRITE),
        shared: Perm::CONSISTENT_READ.union(Perm::WRITE_UNCHANGED),
    };

    #[test]
    fn a_filter_passes_everything_through() {
        let role = Role::FILTERED | Role::PRIMARY;
        assert_eq!(
            default_child_perms(role, ParentState::active(true), WRITER),
            WRITER
        );
    }

    #[test]
    fn a_backing_image_is_only_read_and_must_stay_still() {
        let pair = default_child_perms(Role::COW, ParentState::active(true), WRITER);
        assert_eq!(pair.perm, Perm::CONSISTENT_READ);
        assert_eq!(pair.shared, Perm::CONSISTENT_READ | Perm::WRITE_UNCHANGED);
    }

    #[test]
    fn a_backing_image_may_change_when_nobody_above_minds() {
        let pair = default_child_perms(Role::COW, ParentState::active(true), READER);
        assert_eq!(pair.shared, Perm::all());
    }

    #[test]
    fn an_image_with_metadata_is_written_by_its_format_even_for_a_reader() {
        let pair = default_child_perms(Role::IMAGE, ParentState::active(true), READER);
        assert_eq!(
            pair.perm,
            Perm::CONSISTENT_READ | Perm::WRITE | Perm::RESIZE
        );
        assert_eq!(pair.shared, Perm::CONSISTENT_READ | Perm::WRITE_UNCHANGED);
        let read_only = default_child_perms(Role::IMAGE, ParentState::active(false), READER);
        assert_eq!(read_only.perm, Perm::CONSISTENT_READ);
    }

    #[test]
    fn a_data_child_grows_with_writes() {
        let pair = default_child_perms(Role::DATA, ParentState::active(true), WRITER);
        assert_eq!(pair.perm, WRITER.perm | Perm::RESIZE);
        let unchanged = PermPair {
            perm: Perm::WRITE_UNCHANGED,
            shared: Perm::all(),
        };
        let pair = default_child_perms(Role::DATA, ParentState::active(true), unchanged);
        assert_eq!(
            pair.perm,
            Perm::WRITE_UNCHANGED | Perm::WRITE | Perm::RESIZE
        );
    }

    #[test]
    fn an_inactive_parent_lets_the_other_process_write() {
        let parent = ParentState {
            inactive: true,
            ..ParentState::active(false)
        };
        let pair = default_child_perms(Role::IMAGE, parent, READER);
        assert!(pair.shared.contains(Perm::WRITE | Perm::RESIZE));
        let pair = default_child_perms(Role::COW, parent, WRITER);
        assert!(pair.shared.contains(Perm::WRITE | Perm::RESIZE));
    }

    #[test]
    fn roles_that_contradict_themselves_are_invalid() {
        assert!(Role::IMAGE.is_valid());
        assert!((Role::FILTERED | Role::PRIMARY).is_valid());
        assert!(Role::COW.is_valid());
        assert!(!(Role::COW | Role::PRIMARY).is_valid());
        assert!(!(Role::FILTERED | Role::DATA).is_valid());
        assert!(!Role::PRIMARY.is_valid());
        assert!(!Role::empty().is_valid());
    }
}
