//! What all threads of the tour share.

use std::sync::atomic::{AtomicU64, Ordering};

use super::failure::Failure;
use crate::run::Run;

/// The state of a tour that its threads share.
#[derive(Debug, Default)]
pub struct Watch {
    /// What any run has.
    pub run: Run<Kind, Failure>,
    corruption: AtomicU64,
}

/// What is counted of the steps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A file replaced, its contents copied in the section.
    FileReplaced,
    /// A filter put somewhere.
    FilterInserted,
    /// A filter taken out.
    FilterDropped,
    /// A format node replaced by another one over the same file.
    FormatReplaced,
    /// A backend given another node.
    BackendReplaced,
    /// A connected part of the graph moved to another thread.
    Moved,
    /// A qcow2 image put on top of a chain.
    OverlayAdded,
    /// What the active image has written into one below.
    OverlayCommitted,
    /// Images of a chain left out, what they had moved up before.
    ImagesPassed,
    /// An image put over another base, by its header and by a reopen.
    Rebased,
    /// An image reopened with other options.
    ImageReopened,
    /// A backend made, used and removed.
    BackendProbed,
    /// A node deleted by name.
    NodeDeleted,
    /// An iothread made or removed.
    IoThreadChanged,
    /// A change asked for by I/O code.
    AskedByIo,
    /// An image looked at in a drained section, and found consistent.
    ImageChecked,
    /// Drained sections nested, without a change.
    SectionsNested,
    /// A change refused, with nothing left behind.
    Refused,
    /// A change that another one had overtaken.
    Overtaken,
}

impl Kind {
    /// How the table calls it.
    pub fn label(self) -> &'static str {
        match self {
            Kind::FileReplaced => "files replaced, contents copied",
            Kind::FilterInserted => "filters inserted",
            Kind::FilterDropped => "filters dropped",
            Kind::FormatReplaced => "format nodes replaced",
            Kind::BackendReplaced => "backends given another node",
            Kind::Moved => "moves between threads",
            Kind::OverlayAdded => "qcow2 overlays added",
            Kind::OverlayCommitted => "qcow2 overlays committed",
            Kind::ImagesPassed => "qcow2 chains cut short, data moved",
            Kind::Rebased => "qcow2 images rebased, base copied",
            Kind::ImageReopened => "qcow2 images reopened",
            Kind::BackendProbed => "backends added and removed",
            Kind::NodeDeleted => "nodes deleted by name",
            Kind::IoThreadChanged => "iothreads made or removed",
            Kind::AskedByIo => "asked for by I/O code",
            Kind::ImageChecked => "qcow2 images checked in a section",
            Kind::SectionsNested => "sections nested, no change",
            Kind::Refused => "refused and rolled back",
            Kind::Overtaken => "overtaken by another change",
        }
    }

    /// Its name in JSON.
    pub fn key(self) -> &'static str {
        match self {
            Kind::FileReplaced => "files_replaced",
            Kind::FilterInserted => "filters_inserted",
            Kind::FilterDropped => "filters_dropped",
            Kind::FormatReplaced => "formats_replaced",
            Kind::BackendReplaced => "backends_replaced",
            Kind::Moved => "moves",
            Kind::OverlayAdded => "overlays_added",
            Kind::OverlayCommitted => "overlays_committed",
            Kind::ImagesPassed => "images_passed",
            Kind::Rebased => "images_rebased",
            Kind::ImageReopened => "images_reopened",
            Kind::BackendProbed => "backends_probed",
            Kind::NodeDeleted => "nodes_deleted",
            Kind::IoThreadChanged => "iothread_changes",
            Kind::AskedByIo => "asked_by_io",
            Kind::ImageChecked => "images_checked_in_sections",
            Kind::SectionsNested => "sections_nested",
            Kind::Refused => "refused",
            Kind::Overtaken => "overtaken",
        }
    }

    /// Whether the graph was another one afterwards.
    pub fn is_change(self) -> bool {
        !matches!(
            self,
            Kind::ImageChecked | Kind::SectionsNested | Kind::Refused | Kind::Overtaken
        )
    }
}

impl Watch {
    /// Notes something that must not happen, and ends the tour.
    pub fn fail(&self, failure: Failure) {
        if failure.is_corruption() {
            self.corruption.fetch_add(1, Ordering::Relaxed);
        }
        self.run.fail(failure);
    }

    /// How many comparisons have failed.
    pub fn corruption(&self) -> u64 {
        self.corruption.load(Ordering::Relaxed)
    }

    /// How many steps changed the graph.
    pub fn changes(&self) -> u64 {
        let counts = self.run.counts();
        let changes = counts.iter().filter(|(kind, _)| kind.is_change());
        changes.map(|(_, count)| count).sum()
    }
}
