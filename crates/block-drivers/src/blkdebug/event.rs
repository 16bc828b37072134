//! What rules can refer to: events and kinds of requests.

use std::fmt;
use std::str::FromStr;

/// The steps of a driver's work that rules can wait for, by QEMU's names
/// (`BlkdebugEvent`). Drivers and the layer report them with
/// [`Request::debug_event`](block_io::Request::debug_event).
pub const EVENTS: [&str; 48] = [
    "l1_update",
    "l1_grow_alloc_table",
    "l1_grow_write_table",
    "l1_grow_activate_table",
    "l2_load",
    "l2_update",
    "l2_update_compressed",
    "l2_alloc_cow_read",
    "l2_alloc_write",
    "read_aio",
    "read_backing_aio",
    "read_compressed",
    "write_aio",
    "write_compressed",
    "vmstate_load",
    "vmstate_save",
    "cow_read",
    "cow_write",
    "reftable_load",
    "reftable_grow",
    "reftable_update",
    "refblock_load",
    "refblock_update",
    "refblock_update_part",
    "refblock_alloc",
    "refblock_alloc_hookup",
    "refblock_alloc_write",
    "refblock_alloc_write_blocks",
    "refblock_alloc_write_table",
    "refblock_alloc_switch_table",
    "cluster_alloc",
    "cluster_alloc_bytes",
    "cluster_free",
    "flush_to_os",
    "flush_to_disk",
    "pwritev_rmw_head",
    "pwritev_rmw_after_head",
    "pwritev_rmw_tail",
    "pwritev_rmw_after_tail",
    "pwritev",
    "pwritev_zero",
    "pwritev_done",
    "empty_image_prepare",
    "l1_shrink_write_table",
    "l1_shrink_free_l2_clusters",
    "cor_write",
    "cluster_alloc_space",
    "none",
];

/// One of [`EVENTS`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Event(u8);

impl Event {
    /// Happens once, when the node has been opened.
    pub const NONE: Event = Event(EVENTS.len() as u8 - 1);

    /// Its name.
    pub fn name(self) -> &'static str {
        EVENTS[usize::from(self.0)]
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({})", self.name())
    }
}

/// No event, or kind of request, has the name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid parameter value: {0}")]
pub struct UnknownName(pub String);

impl FromStr for Event {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let mut names = EVENTS.iter();
        match names.position(|known| *known == name) {
            Some(at) => Ok(Event(at as u8)),
            None => Err(UnknownName(name.to_owned())),
        }
    }
}

/// Kinds of requests that rules can tell apart (`BlkdebugIOType`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IoType {
    /// `read`
    Read,
    /// `write`
    Write,
    /// `write-zeroes`
    WriteZeroes,
    /// `discard`
    Discard,
    /// `flush`
    Flush,
    /// `block-status`
    BlockStatus,
}

impl IoType {
    /// All of them.
    pub const ALL: [IoType; 6] = [
        IoType::Read,
        IoType::Write,
        IoType::WriteZeroes,
        IoType::Discard,
        IoType::Flush,
        IoType::BlockStatus,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            IoType::Read => "read",
            IoType::Write => "write",
            IoType::WriteZeroes => "write-zeroes",
            IoType::Discard => "discard",
            IoType::Flush => "flush",
            IoType::BlockStatus => "block-status",
        }
    }
}

impl FromStr for IoType {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let mut all = IoType::ALL.into_iter();
        let found = all.find(|known| known.name() == name);
        found.ok_or_else(|| UnknownName(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_there_and_back() {
        for name in EVENTS {
            assert_eq!(name.parse::<Event>().expect(name).name(), name);
        }
        for kind in IoType::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert_eq!(Event::NONE.name(), "none");
        let unknown = "read".parse::<Event>().expect_err("a kind of request");
        assert_eq!(unknown.to_string(), "invalid parameter value: read");
    }
}
