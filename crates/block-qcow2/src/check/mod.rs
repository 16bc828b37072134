//! Looking whether an image is consistent, and repairing it.
//!
//! Everything that refers to a cluster is counted and compared with what the
//! image says (`qcow2_co_check`). What is found is told at once, in the order
//! and in the words of QEMU, and not kept. Nothing may be in flight at the
//! image: tables are read from the file and repaired there, and what the image
//! has in memory is read again afterwards.
//!
//! | module | what |
//! |---|---|
//! | `finding` | what can be found, and its words |
//! | `snapshots` | the table of snapshots |
//! | `tables`, `uses` | counting what refers to clusters |
//! | `compare` | counts that are not right |
//! | `copied` | flags that say what may be written in place |
//! | `rebuild` | counts that are lost |
//! | `reader` | tables in pieces |
//!
//! Memory is taken for the counts of clusters that are used, once, and once
//! more where the image counts them differently.

mod compare;
mod copied;
mod finding;
mod reader;
mod rebuild;
mod snapshots;
mod tables;
mod uses;

use std::collections::BTreeMap;

use block_common::error::errno;
use block_io::{Buffer, CheckResult, Clusters, Findings, IoError, Repairs, Request};

use crate::commit::Goal;
use crate::format::bitmap::BitmapEntry;
use crate::format::entry::Entry;
use crate::format::header::{BitmapsExtension, Header, Incompatible};
use crate::geometry::Geometry;
use crate::image::{Image, Standing};
use crate::manage::Reload;
use crate::open::{Stored as Tables, Strictness, read_bytes, without_advice};
use crate::options::OverlapChecks;
use crate::switch::Extent;
use compare::Stored;
pub use finding::{Qcow2Finding, Verdict};
use reader::Reader;
use snapshots::SnapshotTable;
use uses::Uses;

/// How many clusters a file has at most that is checked.
const MAX_CLUSTERS: u64 = i32::MAX as u64;

/// A check under way.
struct Check<'c> {
    image: &'c Image,
    request: Request<'c>,
    file: Request<'c>,
    findings: &'c dyn Findings,
    repairs: Repairs,
    geometry: Geometry,
    /// The header, the guest's first-level table and the table of blocks, as
    /// they are stored.
    header: Header,
    l1: Vec<u64>,
    table: Vec<u64>,
    file_length: u64,
    uses: Uses,
    /// Blocks that do not store what was counted.
    stored: BTreeMap<u64, Stored>,
    /// A block behind the end of the file, empty for none.
    far: (Option<u64>, Vec<u8>),
    /// The last cluster that is used or counted.
    highest: u64,
    needs_rebuild: bool,
    found: CheckResult,
    clusters: Clusters,
    reader: Reader,
    scratch: Vec<u8>,
    /// It has been said that the image is corrupt.
    signaled: bool,
    /// A cluster of the first-level table in which nothing else is.
    guarded: Option<u64>,
    /// Something was written.
    wrote: bool,
    /// Another header than this one may be stored.
    is_unsure: bool,
}

/// How everything is counted.
#[derive(Clone, Copy)]
struct Counting {
    /// Entries that make no sense and mean nothing are replaced.
    repairs: bool,
}

impl Image {
    /// Looks at everything, and repairs what it is told to.
    ///
    /// # Errors
    /// When a table cannot be read or written, or what is wrong cannot be
    /// repaired; [`IoError::ReadOnly`] for repairs of an image that is not
    /// written.
    pub async fn check(
        &self,
        request: Request<'_>,
        repairs: Repairs,
        findings: &dyn Findings,
    ) -> Result<CheckResult, IoError> {
        let is_written = request.node().is_writable();
        if !repairs.is_empty() && !is_written {
            return Err(IoError::ReadOnly);
        }
        if is_written && self.check_sane().is_ok() {
            self.commit(request, Goal::Clean).await?;
        }
        let turn = self.commits.enter(0..1, true).await;
        let mut check = Check::new(self, request, repairs, findings).await?;
        if self.standing.is(Standing::STALE) && !repairs.is_empty() {
            check.settle().await?;
        }
        let looked = check.all().await;
        if check.wrote {
            self.take_back(request, check.is_unsure).await?;
        }
        drop(turn);
        let snapshots = looked?;
        let mut found = check.found;
        if snapshots.to_fix > 0 {
            let to_fix = snapshots.to_fix;
            if let Err(error) = self.rewrite_snapshots(request, snapshots).await {
                check.tell(&Qcow2Finding::SnapshotTableUnwritable(errno_words(&error)));
                return Err(error);
            }
            found.corruptions_fixed += to_fix;
        }
        if !repairs.is_empty() && found.check_errors == 0 && found.corruptions == 0 {
            self.clear_marks(request).await?;
        }
        Ok(found)
    }

    /// Reads again what was repaired in the file.
    ///
    /// # Errors
    /// The image is [stale](Standing::STALE).
    async fn take_back(&self, request: Request<'_>, is_unsure: bool) -> Result<(), IoError> {
        request.file()?.flush().await?;
        self.reload(request, Reload::Repaired).await?;
        if is_unsure {
            // What was read is not what is stored, perhaps: a flush that works
            // says nothing of what one that failed has lost.
            self.standing.note(Standing::STALE);
        }
        Ok(())
    }

    /// Stores the table of snapshots as it was read.
    async fn rewrite_snapshots(
        &self,
        request: Request<'_>,
        table: SnapshotTable,
    ) -> Result<(), IoError> {
        {
            let state = &mut *self.lock();
            state.snapshots = table.all.clone();
            state.snapshot_bytes = table.bytes;
        }
        self.replace_snapshots(request, table.all, None).await?;
        self.note_metadata();
        self.commit(request, Goal::Durable).await
    }

    /// Says in the header that nothing is wrong.
    async fn clear_marks(&self, request: Request<'_>) -> Result<(), IoError> {
        let marks = Incompatible::DIRTY | Incompatible::CORRUPT;
        let _turn = self.commits.enter(0..1, true).await;
        if !self.lock().header.incompatible.intersects(marks) {
            return Ok(());
        }
        // What was repaired is durable before that, and so are all counts.
        match self.check_sane() {
            Ok(()) => self.commit_now(request, Goal::Clean).await?,
            Err(_) => request.file()?.flush().await?,
        }
        self.switch_header(request, Extent::Features, Vec::new(), |header| {
            header.incompatible -= marks;
        })
        .await?;
        self.lock().is_behind = false;
        Ok(())
    }
}

impl<'c> Check<'c> {
    async fn new(
        image: &'c Image,
        request: Request<'c>,
        repairs: Repairs,
        findings: &'c dyn Findings,
    ) -> Result<Check<'c>, IoError> {
        let file = request.file()?;
        let tables = Tables::read(file, Strictness::Checkable).await;
        let tables = tables.map_err(without_advice)?;
        let geometry = Geometry::of(&tables.header);
        let clusters = geometry.clusters_of(tables.file_length);
        if clusters > MAX_CLUSTERS {
            return Err(IoError::from_errno(errno::EFBIG));
        }
        Ok(Check {
            image,
            request,
            file,
            findings,
            repairs,
            geometry,
            clusters: Clusters {
                total: geometry.clusters_of(tables.header.size),
                ..Clusters::default()
            },
            header: tables.header,
            l1: tables.l1,
            table: tables.table,
            file_length: tables.file_length,
            uses: Uses::new(&geometry, clusters),
            stored: BTreeMap::new(),
            far: (None, Vec::new()),
            highest: 0,
            needs_rebuild: false,
            found: CheckResult::default(),
            reader: Reader::new(),
            scratch: Vec::new(),
            signaled: false,
            guarded: None,
            wrote: false,
            is_unsure: false,
        })
    }

    /// Looks at everything, and says what there is to be done about the
    /// table of snapshots.
    async fn all(&mut self) -> Result<SnapshotTable, IoError> {
        let snapshots = self.snapshots().await?;
        self.counts(&snapshots).await?;
        self.copied().await?;
        let size = self.geometry.cluster_size();
        self.found.image_end = Some((self.highest + 1) * size);
        self.found.clusters = Some(self.clusters);
        Ok(snapshots)
    }

    /// Looks at all counts (`qcow2_check_refcounts`).
    async fn counts(&mut self, snapshots: &SnapshotTable) -> Result<(), IoError> {
        let repairs = self.repairs;
        let repair = repairs.contains(Repairs::ERRORS);
        let (all, bytes) = (&snapshots.all, snapshots.bytes);
        let counting = Counting { repairs: repair };
        self.count(all, bytes, counting).await?;
        let counted = self.found;
        self.compare(Repairs::empty()).await?;
        if !self.needs_rebuild || !repair {
            if self.needs_rebuild && !repairs.is_empty() {
                self.tell(&Qcow2Finding::NeedsRebuild);
                return Err(IoError::from_errno(errno::EIO));
            }
            if !repairs.is_empty() && self.found.leaks + self.found.corruptions > 0 {
                self.found = counted;
                self.compare(repairs).await?;
            }
            return Ok(());
        }
        let before = self.found;
        self.rebuild().await?;
        self.found.corruptions = 0;
        self.found.leaks = 0;
        // Blocks that could not be read are not needed any more.
        self.found.check_errors = counted.check_errors;
        self.needs_rebuild = false;
        self.uses.clear();
        let counting = Counting { repairs: false };
        self.count(all, bytes, counting).await?;
        // What used to count is used by nothing now; that was no mistake.
        let after = self.found;
        self.compare(repairs & Repairs::LEAKS).await?;
        if self.needs_rebuild {
            self.tell(&Qcow2Finding::RebuiltBroken);
        }
        // Tables that were behind the end of the file may be in it now; they
        // take another check.
        let broken = self.found.corruptions - after.corruptions;
        self.found = after;
        let found = &mut self.found;
        found.corruptions += broken;
        found.corruptions_fixed += before.corruptions.saturating_sub(found.corruptions);
        found.leaks_fixed += before.leaks.saturating_sub(found.leaks);
        Ok(())
    }

    /// Tells whoever listens.
    #[cold]
    fn tell(&self, finding: &Qcow2Finding) {
        self.findings.hear(finding);
    }

    /// Something is wrong, and stays so.
    #[cold]
    fn wrong(&mut self, finding: Qcow2Finding) {
        self.tell(&finding);
        self.found.corruptions += 1;
    }

    /// Something is so wrong that it cannot be used. Unless it is about to be
    /// repaired the image is marked.
    async fn corrupted(&mut self, text: &str) -> IoError {
        if !std::mem::replace(&mut self.signaled, true) {
            let text = match self.repairs.contains(Repairs::ERRORS) {
                true => format!(
                    "qcow2: Image is corrupt: {text}; further non-fatal corruption events will be \
                     suppressed"
                ),
                false => self.image.corrupted(self.request, text).await.to_string(),
            };
            self.tell(&Qcow2Finding::Corrupt(text));
        }
        IoError::from_errno(errno::EIO)
    }

    /// Refuses to write where something else is stored than what is `own`.
    async fn guard(&mut self, at: u64, bytes: u64, own: OverlapChecks) -> Result<(), IoError> {
        let checked = self
            .image
            .check_metadata(self.request, at, bytes, own)
            .await;
        if let Err(error) = &checked {
            self.tell(&Qcow2Finding::Corrupt(error.to_string()));
        }
        checked
    }

    /// Repairs something in the file.
    async fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), IoError> {
        self.wrote = true;
        // Given up anywhere from here on, the image is not what was read of it.
        self.image.standing.note(Standing::STALE);
        self.reader.forget();
        self.far.0 = None;
        self.file.write(at, Buffer::from(bytes).source()).await
    }
}

/// The words for an error's number.
fn errno_words(error: &IoError) -> String {
    IoError::from_errno(error.errno()).to_string()
}

/// Reads the directory of bitmaps.
async fn read_directory(
    file: Request<'_>,
    known: &BitmapsExtension,
    cluster_size: u64,
    file_length: u64,
) -> Result<Vec<BitmapEntry>, IoError> {
    let there = file_length.saturating_sub(known.directory_offset);
    if there < known.directory_size {
        return Err(IoError::from_errno(errno::EINVAL));
    }
    let text = "Failed to read bitmap directory";
    let length = known.directory_size as usize;
    let bytes = read_bytes(file, known.directory_offset, length, text).await?;
    Ok(crate::format::bitmap::parse(
        &bytes,
        known.count,
        cluster_size,
    )?)
}

/// The entries of a second-level table.
pub(crate) fn entries_of<'w>(
    geometry: &Geometry,
    words: &'w [u64],
) -> impl Iterator<Item = Entry> + 'w {
    words
        .chunks_exact(geometry.words_per_entry)
        .map(|words| Entry {
            word: words[0],
            bitmap: words.get(1).copied().unwrap_or(0),
        })
}
