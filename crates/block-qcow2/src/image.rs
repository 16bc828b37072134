//! An open image: what requests share.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use block_common::error::errno;
use block_common::sync::{Mutex, MutexGuard};
use block_io::engine::Overlaps;
use block_io::{Buffer, GraphCell, IoError, Request};

use crate::cache::{PlaceId, Slices};
use crate::format::Hex;
use crate::format::bitmap::BitmapEntry;
use crate::format::bytes::be64;
use crate::format::entry::{COPIED, OFFSET};
use crate::format::header::Header;
use crate::format::snapshot::Snapshot;
use crate::geometry::Geometry;
use crate::grace::Grace;
use crate::l1::L1;
use crate::options::Settings;
use crate::overlap::Filter;
use crate::places::Places;
use crate::refs::{Claim, Need, Refs};
use crate::steps::step;
use crate::switch::Unsure;

/// How many clusters may wait to be given back before they are.
pub(crate) const MANY: usize = 1 << 14;

/// What requests share of an open image.
#[derive(Debug)]
pub(crate) struct Image {
    pub geometry: Geometry,
    /// What the guest sees, in bytes.
    pub size: AtomicU64,
    pub l1: L1,
    /// Replaced when a reopen says how many there are to be, and when
    /// memory goes back.
    pub slices: GraphCell<Slices>,
    pub grace: Grace,
    /// Locked for a few steps, never while waiting.
    state: Mutex<State>,
    /// Who changes the mapping of which bytes of the guest.
    pub turns: Overlaps,
    /// Who reads which slice.
    loads: Overlaps,
    /// Who reads which block of counts.
    block_loads: Overlaps,
    /// Who makes which second-level table.
    pub tables: Overlaps,
    /// Who stores a packed cluster, in the order in which they came.
    pub packing: Overlaps,
    /// Who stores what is dirty, or changes the header.
    pub commits: Overlaps,
    /// Who writes the header as it is at that moment. Whoever is inside waits
    /// for nothing but the file.
    pub headers: Overlaps,
    /// What keeps the image from being written.
    pub standing: Standing,
    pub settings: Mutex<Settings>,
    /// Where metadata may be.
    pub filter: Filter,
    /// More clusters are counted than the file takes room, if that is known.
    pub preallocated: Mutex<Option<bool>>,
    /// No zero flags are stored: the image is, or is becoming, one of version
    /// 2.
    pub without_zeroes: AtomicBool,
}

/// What keeps an image from being written: looked at by every write, and
/// nothing most of the time.
#[derive(Debug, Default)]
pub(crate) struct Standing(AtomicU8);

impl Standing {
    /// Something is wrong with the image.
    pub const CORRUPT: u8 = 1;
    /// It was dirty and could not be repaired.
    pub const UNREPAIRED: u8 = 1 << 1;
    /// The stored bitmaps say that they hold, and would not after a write.
    pub const UNMARKED: u8 = 1 << 2;
    /// It has been reported that something is wrong.
    pub const REPORTED: u8 = 1 << 3;
    /// It was being repaired in the file and was not read again: what is in
    /// memory is of before, and nobody knows which of two headers is durable.
    pub const STALE: u8 = 1 << 4;
    /// What is in memory is not to be stored.
    pub const HALTED: u8 = Standing::UNREPAIRED | Standing::STALE;

    /// Nothing keeps it.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.0.load(Ordering::Acquire) & !Standing::REPORTED == 0
    }

    pub fn is(&self, what: u8) -> bool {
        self.0.load(Ordering::Acquire) & what != 0
    }

    /// Notes it, and says whether it was not noted before.
    pub fn note(&self, what: u8) -> bool {
        self.0.fetch_or(what, Ordering::AcqRel) & what == 0
    }

    pub fn forget(&self, what: u8) {
        self.0.fetch_and(!what, Ordering::AcqRel);
    }
}

/// What changes, behind a lock.
#[derive(Debug)]
pub(crate) struct State {
    pub header: Header,
    /// The stored header says that counts may be wrong, because those that
    /// are stored are behind. Others than lazy ones never are.
    pub is_behind: bool,
    pub refs: Refs,
    pub snapshots: Vec<Snapshot>,
    /// The bitmaps that are stored.
    pub bitmaps: Vec<BitmapEntry>,
    /// The names of those that were in use when the image was opened: what
    /// they say does not hold.
    pub inconsistent: Vec<String>,
    /// How long the table of snapshots is stored, in bytes.
    pub snapshot_bytes: u64,
    /// Which first-level entries are not stored yet.
    pub l1_dirty: BTreeSet<u64>,
    /// What is known about each place of a slice.
    pub places: Places,
    /// Clusters whose last use is not stored as given up yet.
    pub freed: Vec<Freed>,
    /// Clusters that nothing stored uses any more, from which epoch on.
    pub released: VecDeque<(u64, Vec<Freed>)>,
    /// Clusters that nothing has ever used.
    pub unused: Vec<Range<u64>>,
    /// Clusters that would be free if their counts could be read.
    pub uncounted: Vec<Freed>,
    /// Another header than this one may be stored.
    pub unsure: Option<Unsure>,
    /// How often it was looked for what nobody uses.
    pub cleanings: u64,
}

/// Clusters that lost one use each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Freed {
    pub clusters: Range<u64>,
    /// Whether the file may forget what is there.
    pub discard: bool,
}

impl State {
    pub fn new(header: Header, refs: Refs, places: Places) -> State {
        State {
            header,
            is_behind: false,
            refs,
            snapshots: Vec::new(),
            bitmaps: Vec::new(),
            inconsistent: Vec::new(),
            snapshot_bytes: 0,
            l1_dirty: BTreeSet::new(),
            places,
            freed: Vec::new(),
            released: VecDeque::new(),
            unused: Vec::new(),
            uncounted: Vec::new(),
            unsure: None,
            cleanings: 0,
        }
    }

    /// Notes that clusters lose a use each when what has been changed until
    /// now is stored.
    pub fn free(&mut self, clusters: Range<u64>, discard: bool) {
        if let Some(last) = self.freed.last_mut()
            && last.clusters.end == clusters.start
            && last.discard == discard
        {
            last.clusters.end = clusters.end;
            return;
        }
        self.freed.push(Freed { clusters, discard });
    }

    /// Takes a use away from clusters that nothing stored uses any more, and
    /// that no request has looked up.
    pub fn release(&mut self, clusters: Range<u64>, discard: bool) {
        if clusters.is_empty() {
            return;
        }
        match self.released.back_mut() {
            Some((0, freed)) => freed.push(Freed { clusters, discard }),
            _ => self
                .released
                .push_back((0, vec![Freed { clusters, discard }])),
        }
    }
}

impl Image {
    pub fn new(
        geometry: Geometry,
        l1: &[u64],
        slices: GraphCell<Slices>,
        state: State,
        settings: Settings,
    ) -> Image {
        let image = Image {
            geometry,
            size: AtomicU64::new(state.header.size),
            l1: L1::new(l1),
            slices,
            grace: Grace::new(),
            state: Mutex::new(state),
            turns: Overlaps::new(),
            loads: Overlaps::new(),
            block_loads: Overlaps::new(),
            tables: Overlaps::new(),
            packing: Overlaps::new(),
            commits: Overlaps::new(),
            headers: Overlaps::new(),
            standing: Standing::default(),
            settings: Mutex::new(settings),
            filter: Filter::new(),
            preallocated: Mutex::default(),
            without_zeroes: AtomicBool::new(geometry.version < 3),
        };
        image.lock().refs.filter = image.filter.clone();
        image.note_metadata();
        image
    }

    /// The state, for a few steps.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// The geometry as the header says it now: its version and the width of
    /// counts change when an image is amended.
    pub fn geometry_now(&self) -> Geometry {
        Geometry::of(&self.lock().header)
    }

    /// How many entries a slice has, as a power of two.
    #[inline]
    pub fn slice_bits(&self, request: Request<'_>) -> u32 {
        // An entry has one word or two.
        self.slices.get(request).word_bits() - (self.geometry.words_per_entry as u32 - 1)
    }

    /// Which slice describes an offset of the guest, and which entry of it.
    #[inline]
    pub fn slice_of(&self, request: Request<'_>, offset: u64) -> (u64, usize) {
        let bits = self.slice_bits(request);
        let cluster = offset >> self.geometry.cluster_bits;
        (cluster >> bits, (cluster & ((1 << bits) - 1)) as usize)
    }

    /// Which first-level entry a slice belongs to.
    fn l1_of_slice(&self, request: Request<'_>, key: u64) -> u64 {
        key >> (self.geometry.l2_bits - self.slice_bits(request))
    }

    /// Where a slice is stored. `None` where there is no table.
    pub fn slice_offset(&self, request: Request<'_>, key: u64) -> Option<u64> {
        let table = self.l1.table(self.l1_of_slice(request, key));
        let per_table = 1u64 << (self.geometry.l2_bits - self.slice_bits(request));
        let bytes = self.slices.get(request).words() as u64 * 8;
        (table != 0).then(|| table + (key & (per_table - 1)) * bytes)
    }

    /// Brings a slice into memory.
    ///
    /// # Errors
    /// When it cannot be read. Without a table there is none.
    pub async fn load_slice(&self, request: Request<'_>, key: u64) -> Result<(), IoError> {
        while !self.try_load_slice(request, key).await? {
            self.make_room(request).await?;
        }
        Ok(())
    }

    /// As [`load_slice`](Image::load_slice), if there is room.
    async fn try_load_slice(&self, request: Request<'_>, key: u64) -> Result<bool, IoError> {
        let _turn = self.loads.enter(key..key + 1, true).await;
        let slices = self.slices.get(request);
        if slices.find(key).is_some() {
            return Ok(true);
        }
        // Whoever asks: the table may be given up while it is read.
        let _here = self.grace.enter();
        let Some(offset) = self.slice_offset(request, key) else {
            return Ok(true);
        };
        let index = self.l1_of_slice(request, key);
        let table = self.l1.table(index);
        if self.geometry.in_cluster(table) != 0 {
            let text = format!(
                "L2 table offset {table:#x} unaligned (L1 index: {})",
                Hex(index)
            );
            return Err(self.corrupted(request, &text).await);
        }
        let bytes = slices.words() * 8;
        let mut buffer = Buffer::zeroed(bytes);
        step(request, "l2_load").await;
        request.file()?.read(offset, buffer.destination()).await?;
        Ok(self.install(slices, key, &buffer).is_some())
    }

    /// Puts a slice into a place, if one is free or holds nothing that has to
    /// be stored first.
    fn install(&self, slices: &Slices, key: u64, buffer: &Buffer) -> Option<()> {
        let state = self.lock();
        let may_go = |place: &PlaceId| state.places.may_go(*place);
        let places = || slices.places_of(key).filter(may_go);
        let empty = places().find(|place| slices.key(*place).is_none());
        let unused = || places().find(|place| !slices.take_used(*place));
        let place = empty.or_else(unused).or_else(|| places().next())?;
        let words = buffer.as_slice().chunks_exact(8);
        let words = words.map(|word| be64(word, 0));
        slices.put(place, key, words);
        Some(())
    }

    /// Brings a block of counts into memory, if there is room or it is
    /// `urgent`.
    async fn load_block(
        &self,
        request: Request<'_>,
        index: u64,
        urgent: bool,
    ) -> Result<bool, IoError> {
        let _turn = self.block_loads.enter(index..index + 1, true).await;
        let offset = {
            let state = self.lock();
            if state.refs.blocks.contains_key(&index) {
                return Ok(true);
            }
            state.refs.block_offset(index)
        };
        if self.geometry.in_cluster(offset) != 0 {
            let text = format!(
                "Refblock offset {offset:#x} unaligned (reftable index: {})",
                Hex(index)
            );
            return Err(self.corrupted(request, &text).await);
        }
        let mut buffer = Buffer::zeroed(self.geometry.cluster_size() as usize);
        step(request, "refblock_load").await;
        request.file()?.read(offset, buffer.destination()).await?;
        let data = buffer.as_slice().to_vec();
        Ok(self.lock().refs.insert(index, data, urgent).is_some())
    }

    /// Does something with the counts, however often it has to be tried.
    pub async fn with_refs<T>(
        &self,
        request: Request<'_>,
        mut f: impl FnMut(&mut Refs) -> Result<T, Need>,
    ) -> Result<T, IoError> {
        loop {
            let tried = f(&mut self.lock().refs);
            match tried {
                Ok(done) => return Ok(done),
                Err(Need::Table(wanted)) => self.lock().refs.grow(wanted)?,
                Err(Need::Nothing(index)) => return Err(not_counted(index)),
                Err(Need::Block(index)) => {
                    if !self.load_block(request, index, false).await? {
                        self.make_room(request).await?;
                    }
                }
            }
        }
    }

    /// As [`with_refs`](Image::with_refs), for whoever has the turn to commit.
    pub async fn with_refs_now<T>(
        &self,
        request: Request<'_>,
        mut f: impl FnMut(&mut Refs) -> Result<T, Need>,
    ) -> Result<T, IoError> {
        loop {
            let tried = f(&mut self.lock().refs);
            match tried {
                Ok(done) => return Ok(done),
                Err(Need::Table(wanted)) => self.lock().refs.grow(wanted)?,
                Err(Need::Nothing(index)) => return Err(not_counted(index)),
                Err(Need::Block(index)) => {
                    self.load_block(request, index, true).await?;
                }
            }
        }
    }

    /// Takes up to `want` clusters in a row, or exactly so many. They are
    /// given back unless [kept](Claimed::keep).
    ///
    /// # Errors
    /// `ENOSPC`; when counts cannot be read.
    pub async fn claim(
        &self,
        request: Request<'_>,
        want: u64,
        exact: bool,
    ) -> Result<Claimed<'_>, IoError> {
        self.claim_for(request, want, exact, None).await
    }

    /// As [`claim`](Image::claim), for whoever has the turn to commit.
    pub async fn claim_now(
        &self,
        request: Request<'_>,
        want: u64,
        exact: bool,
    ) -> Result<Claimed<'_>, IoError> {
        let claim = self
            .with_refs_now(request, |refs| refs.claim(want, exact))
            .await?;
        self.check_claim(request, &claim, Some("refcount block"))
            .await?;
        let claimed = Claimed {
            image: self,
            claim: Some(claim),
        };
        match claimed.clusters().end << self.geometry.cluster_bits > OFFSET {
            true => Err(IoError::from_errno(errno::ENOSPC)),
            false => Ok(claimed),
        }
    }

    /// As [`claim`](Image::claim), for `what`.
    async fn claim_for(
        &self,
        request: Request<'_>,
        want: u64,
        exact: bool,
        what: Option<&str>,
    ) -> Result<Claimed<'_>, IoError> {
        let (waiting, overfull) = {
            let state = self.lock();
            (state.freed.len(), state.refs.is_overfull())
        };
        if waiting > MANY {
            self.commit(request, crate::commit::Goal::Durable).await?;
        } else if overfull {
            self.make_room(request).await?;
        }
        for event in ["cluster_alloc", "refblock_load", "refblock_alloc"] {
            step(request, event).await;
        }
        let claim = self
            .with_refs(request, |refs| refs.claim(want, exact))
            .await?;
        self.check_claim(request, &claim, what).await?;
        // From here on they go back, also when this is dropped.
        let claimed = Claimed {
            image: self,
            claim: Some(claim),
        };
        let bytes = claimed.count() << self.geometry.cluster_bits;
        self.check_overlap(request, claimed.offset(), bytes).await?;
        match claimed.offset() + bytes > OFFSET {
            true => Err(IoError::from_errno(errno::ENOSPC)),
            false => Ok(claimed),
        }
    }

    /// Takes one cluster where the file reads as zeroes, if that takes no
    /// waiting and no cluster before it is free.
    pub fn claim_fresh(&self) -> Option<Claimed<'_>> {
        let state = &mut *self.lock();
        let full = state.freed.len() > MANY || state.refs.is_overfull();
        if full || !state.refs.next_is_fresh() {
            return None;
        }
        let claim = state.refs.claim(1, true).ok()?;
        if claim.clusters.end << self.geometry.cluster_bits > OFFSET {
            state.unused.push(claim.clusters);
            return None;
        }
        Some(Claimed {
            image: self,
            claim: Some(claim),
        })
    }

    /// Makes sure that there is a second-level table for a first-level entry,
    /// which nothing else uses.
    ///
    /// # Errors
    /// `ENOSPC`; when it cannot be read or written.
    pub async fn own_table(&self, request: Request<'_>, index: u64) -> Result<(), IoError> {
        // A corrupt entry can say that nobody shares a table that is nowhere.
        let is_own = |entry: u64| entry & COPIED != 0 && entry & OFFSET != 0;
        if is_own(self.l1.get(index)) {
            return Ok(());
        }
        let _turn = self.tables.enter(index..index + 1, true).await;
        let old = self.l1.get(index);
        if is_own(old) {
            return Ok(());
        }
        let claimed = self.claim_for(request, 1, true, Some("L2 table")).await?;
        let file = request.file()?;
        let mut table = Buffer::zeroed(self.geometry.cluster_size() as usize);
        if old & OFFSET != 0 {
            let offset = old & OFFSET;
            if self.geometry.in_cluster(offset) != 0 {
                let text = format!(
                    "L2 table offset {offset:#x} unaligned (L1 index: {})",
                    Hex(index)
                );
                return Err(self.corrupted(request, &text).await);
            }
            step(request, "l2_alloc_cow_read").await;
            file.read(offset, table.destination()).await?;
        }
        let bytes = self.geometry.cluster_size();
        self.check_overlap(request, claimed.offset(), bytes).await?;
        step(request, "l2_alloc_write").await;
        file.write(claimed.offset(), table.source()).await?;
        let discard = self.settings.lock().pass_discard_other;
        let mut state = self.lock();
        self.filter.add(claimed.clusters().start);
        self.l1.set(index, claimed.offset() | COPIED);
        state.l1_dirty.insert(index);
        if old & OFFSET != 0 {
            let cluster = (old & OFFSET) >> self.geometry.cluster_bits;
            state.free(cluster..cluster + 1, discard);
        }
        drop(state);
        claimed.keep();
        Ok(())
    }

    /// Something cannot be. The image is marked, so that nobody makes it
    /// worse, and the error for whoever found it is returned
    /// (`qcow2_signal_corruption`).
    pub async fn corrupted(&self, request: Request<'_>, text: &str) -> IoError {
        self.corrupted_at(request, text, None).await
    }

    /// As [`corrupted`](Image::corrupted), for whoever was about to touch a
    /// range of the file.
    pub async fn corrupted_at(
        &self,
        request: Request<'_>,
        text: &str,
        range: Option<Range<u64>>,
    ) -> IoError {
        let fatal = request.node().is_writable();
        let is_new = match fatal {
            true => self.standing.note(Standing::CORRUPT),
            false => self.standing.note(Standing::REPORTED),
        };
        if is_new {
            self.standing.note(Standing::REPORTED);
            request.report_damage(text, range, fatal);
        }
        if is_new && fatal {
            // What comes of it, the image is not written any more.
            let _ = self.mark_corrupt(request).await;
        }
        let text = match fatal {
            true => format!(
                "qcow2: Marking image as corrupt: {text}; further corruption events will be \
                 suppressed"
            ),
            false => format!(
                "qcow2: Image is corrupt: {text}; further non-fatal corruption events will be \
                 suppressed"
            ),
        };
        IoError::refused(errno::EIO, text)
    }

    /// Refuses to write to an image in which something was wrong.
    ///
    /// # Errors
    /// `ENOMEDIUM` if it is corrupt, `EIO` if it has to be repaired first.
    #[inline]
    pub fn check_sane(&self) -> Result<(), IoError> {
        let wrong = Standing::CORRUPT | Standing::HALTED;
        match self.standing.is(wrong) {
            true => Err(self.insane()),
            false => Ok(()),
        }
    }

    #[cold]
    fn insane(&self) -> IoError {
        IoError::from_errno(match self.standing.is(Standing::CORRUPT) {
            true => errno::ENOMEDIUM,
            false => errno::EIO,
        })
    }

    /// As [`check_sane`](Image::check_sane), for who is about to change what
    /// the guest sees: stored bitmaps say from now on that they do not hold.
    ///
    /// # Errors
    /// `EIO`; when that cannot be stored.
    pub async fn get_ready(&self, request: Request<'_>) -> Result<(), IoError> {
        self.check_sane()?;
        while self.standing.is(Standing::UNMARKED) {
            let _turn = self.commits.enter(0..1, true).await;
            if self.standing.is(Standing::UNMARKED) {
                self.mark_in_use(request).await?;
                self.standing.forget(Standing::UNMARKED);
            }
        }
        Ok(())
    }

    /// Forgets everything that was read. Nothing may be in flight.
    pub fn forget(&self, request: Request<'_>) {
        let slices = self.slices.get(request);
        let mut state = self.lock();
        for place in 0..slices.len() {
            slices.clear(place);
        }
        state.places.clear();
        state.refs.forget();
        state.l1_dirty.clear();
        state.freed.clear();
        state.released.clear();
        state.unused.clear();
        state.uncounted.clear();
        state.unsure = None;
    }
}

/// A cluster is in use, and there is no block that could count it. Nothing the
/// image says of its counts is to be trusted.
#[cold]
fn not_counted(block: u64) -> IoError {
    let text = format!(
        "A cluster is in use that nothing counts (reftable index: {})",
        Hex(block)
    );
    IoError::refused(errno::EIO, text)
}

/// Clusters that are counted and that nothing uses yet. Dropped, they are
/// given back.
#[derive(Debug)]
#[must_use = "the clusters are given back when this is dropped"]
pub(crate) struct Claimed<'i> {
    image: &'i Image,
    claim: Option<Claim>,
}

impl Claimed<'_> {
    pub fn clusters(&self) -> Range<u64> {
        self.claim
            .as_ref()
            .map_or(0..0, |claim| claim.clusters.clone())
    }

    /// How many they are.
    pub fn count(&self) -> u64 {
        let clusters = self.clusters();
        clusters.end - clusters.start
    }

    /// Where in the file they begin.
    pub fn offset(&self) -> u64 {
        self.clusters().start << self.image.geometry.cluster_bits
    }

    /// The file reads as zeroes there.
    pub fn is_fresh(&self) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.is_fresh)
    }

    /// Something uses them from now on.
    pub fn keep(mut self) {
        self.claim = None;
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.image.lock().unused.push(claim.clusters);
        }
    }
}
