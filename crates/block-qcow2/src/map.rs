//! Where the bytes of the guest are.

use std::sync::atomic::AtomicU64;

use block_io::{IoError, Request};

use crate::cache::entry_at;
use crate::format::Hex;
use crate::format::entry::{COPIED, Entry, Kind, OFFSET, SUBCLUSTERS, ZERO};
use crate::geometry::Geometry;
use crate::image::Image;

/// Bytes of the guest that are kept alike, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    pub kind: Kind,
    /// Where the first byte is, if anywhere. For [`Kind::Compressed`] the
    /// entry.
    pub host: u64,
    /// How many there are.
    pub bytes: u64,
    /// Nothing else uses the clusters.
    pub own: bool,
}

/// What most requests find: they are for a part of one cluster, of an image
/// without subclusters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plain {
    /// The data is here in the file, and whether nothing else uses it.
    Data(u64, bool),
    /// What is below decides, and no cluster belongs to it.
    Unallocated,
}

impl Kind {
    /// Whether a cluster belongs to it.
    pub fn is_stored(self) -> bool {
        matches!(
            self,
            Kind::Data | Kind::ZeroStored | Kind::UnallocatedStored
        )
    }

    /// Whether it reads as zeroes, whatever is below.
    pub fn is_zero(self) -> bool {
        matches!(self, Kind::Zero | Kind::ZeroStored)
    }

    /// Whether what is below decides.
    pub fn is_unallocated(self) -> bool {
        matches!(self, Kind::Unallocated | Kind::UnallocatedStored)
    }
}

impl Geometry {
    /// What a subcluster is; what cannot be is [`Kind::Invalid`].
    fn kind(&self, entry: Entry, subcluster: u32) -> Kind {
        let kind = entry.kind(self.has_subclusters(), subcluster, self.keeps_data);
        let unaligned = kind.is_stored() && self.in_cluster(entry.host()) != 0;
        let packed = kind == Kind::Compressed && !self.keeps_data;
        match unaligned || packed {
            true => Kind::Invalid,
            false => kind,
        }
    }

    /// The run that begins `skip` bytes into entry number `index`, of at most
    /// `bytes` bytes, up to the end of the slice.
    #[inline]
    fn run(&self, words: &[AtomicU64], index: usize, skip: u64, bytes: u64) -> Run {
        let per_entry = self.words_per_entry;
        let size = self.cluster_size();
        let first = entry_at(words, index, per_entry);
        let subcluster = (skip >> self.subcluster_bits) as u32;
        let kind = self.kind(first, subcluster);
        let mut run = Run {
            kind,
            host: match kind {
                Kind::Compressed => first.word,
                _ if kind.is_stored() => first.host() + skip,
                _ => 0,
            },
            bytes: 0,
            own: first.is_own(),
        };
        let mut length = self.alike(first, subcluster, kind) - skip;
        let mut whole = skip + length == size && kind != Kind::Compressed;
        let mut index = index + 1;
        while whole && length < bytes && index * per_entry < words.len() {
            let entry = entry_at(words, index, per_entry);
            let follows = !kind.is_stored()
                || (entry.host() == run.host + length && entry.is_own() == run.own);
            if !follows || self.kind(entry, 0) != kind {
                break;
            }
            let more = self.alike(entry, 0, kind);
            length += more;
            whole = more == size;
            index += 1;
        }
        run.bytes = length.min(bytes);
        run
    }

    /// Up to which byte of a cluster subclusters are like the one given.
    fn alike(&self, entry: Entry, from: u32, kind: Kind) -> u64 {
        if !self.has_subclusters() || kind == Kind::Compressed {
            return self.cluster_size();
        }
        let same = (from + 1..SUBCLUSTERS).take_while(|next| self.kind(entry, *next) == kind);
        (u64::from(from) + 1 + same.count() as u64) << self.subcluster_bits
    }
}

impl Image {
    /// Where `bytes` bytes at `offset` are, if it is as plain as that and can
    /// be said without waiting. Says less than [`lookup`](Image::lookup), with
    /// a third of the instructions.
    #[inline(always)]
    pub fn plain(&self, request: Request<'_>, offset: u64, bytes: u64) -> Option<Plain> {
        let geometry = &self.geometry;
        let skip = geometry.in_cluster(offset);
        if skip + bytes > geometry.plain_size {
            return None;
        }
        if self.l1.table(geometry.l1_index(offset)) == 0 {
            return Some(Plain::Unallocated);
        }
        let word = self
            .slices
            .get(request)
            .word(offset >> geometry.cluster_bits)?;
        if word & geometry.odd != 0 {
            return None;
        }
        Some(match word & OFFSET {
            0 => Plain::Unallocated,
            host => Plain::Data(host + skip, word & COPIED != 0),
        })
    }

    /// The run at `offset`, of at most `bytes` bytes, if that can be said
    /// without waiting.
    pub fn lookup(&self, request: Request<'_>, offset: u64, bytes: u64) -> Option<Run> {
        if let Some(plain) = self.plain(request, offset, bytes) {
            let (kind, host, own) = match plain {
                Plain::Data(host, own) => (Kind::Data, host, own),
                Plain::Unallocated => (Kind::Unallocated, 0, false),
            };
            return Some(Run {
                kind,
                host,
                bytes,
                own,
            });
        }
        let geometry = &self.geometry;
        if self.l1.table(geometry.l1_index(offset)) == 0 {
            let left = geometry.l2_coverage() - (offset & (geometry.l2_coverage() - 1));
            return Some(Run {
                kind: Kind::Unallocated,
                host: 0,
                bytes: bytes.min(left),
                own: false,
            });
        }
        let (key, index) = self.slice_of(request, offset);
        let skip = geometry.in_cluster(offset);
        let run = self
            .slices
            .get(request)
            .read(key, |words| geometry.run(words, index, skip, bytes))?;
        // In a data file everything is where the guest has it.
        let is_elsewhere = !geometry.keeps_data && run.kind.is_stored() && run.host != offset;
        Some(
            match is_elsewhere || (run.kind.is_zero() && self.has_no_zeroes()) {
                true => Run {
                    kind: Kind::Invalid,
                    ..run
                },
                false => run,
            },
        )
    }

    /// Whether it is an image of version 2 still. Others may have made it a
    /// newer one while they had it.
    fn has_no_zeroes(&self) -> bool {
        self.geometry.version < 3 && self.lock().header.version < 3
    }

    /// The run at `offset`, of at most `bytes` bytes.
    ///
    /// # Errors
    /// When a table cannot be read, or says what cannot be.
    pub async fn map(&self, request: Request<'_>, offset: u64, bytes: u64) -> Result<Run, IoError> {
        loop {
            match self.lookup(request, offset, bytes) {
                Some(Run {
                    kind: Kind::Invalid,
                    ..
                }) => return Err(self.invalid(request, offset).await),
                Some(run) => return Ok(run),
                None => {
                    self.load_slice(request, self.slice_of(request, offset).0)
                        .await?
                }
            }
        }
    }

    /// As [`map`](Image::map), for bytes that are going to be written: what is
    /// wrong has another name.
    ///
    /// # Errors
    /// As [`map`](Image::map).
    pub async fn map_to_write(
        &self,
        request: Request<'_>,
        offset: u64,
        bytes: u64,
    ) -> Result<Run, IoError> {
        loop {
            match self.lookup(request, offset, bytes) {
                Some(run) if run.kind == Kind::Invalid => {
                    return Err(self.invalid_to_write(request, offset).await);
                }
                Some(run) => return Ok(run),
                None => {
                    self.load_slice(request, self.slice_of(request, offset).0)
                        .await?
                }
            }
        }
    }

    #[cold]
    async fn invalid_to_write(&self, request: Request<'_>, offset: u64) -> IoError {
        let entry = self.entry(request, offset);
        let host = entry.host();
        if !entry.is_own() || self.geometry.in_cluster(host) == 0 {
            return self.invalid(request, offset).await;
        }
        let what = match entry.word & ZERO != 0 && !self.geometry.has_subclusters() {
            true => "Preallocated zero",
            false => "Data",
        };
        let guest = Hex(offset);
        let text = format!("{what} cluster offset {host:#x} unaligned (guest offset: {guest})");
        self.corrupted(request, &text).await
    }

    /// The entry of a cluster of the guest, if its slice is in memory.
    fn entry(&self, request: Request<'_>, offset: u64) -> Entry {
        let (key, at) = self.slice_of(request, offset);
        let per_entry = self.geometry.words_per_entry;
        let entry = self
            .slices
            .get(request)
            .read(key, |words| entry_at(words, at, per_entry));
        entry.unwrap_or_default()
    }

    /// Says what is wrong with an entry.
    #[cold]
    async fn invalid(&self, request: Request<'_>, offset: u64) -> IoError {
        let geometry = &self.geometry;
        let table = self.l1.table(geometry.l1_index(offset));
        let index = (offset >> geometry.cluster_bits) & ((1 << geometry.l2_bits) - 1);
        let entry = self.entry(request, offset);
        let place = format!("(L2 offset: {}, L2 index: {})", Hex(table), Hex(index));
        let kind = entry.kind(geometry.has_subclusters(), 0, geometry.keeps_data);
        let text = if kind.is_zero() && self.has_no_zeroes() {
            format!("Zero cluster entry found in pre-v3 image {place}")
        } else if kind == Kind::Compressed {
            format!("Compressed cluster entry found in image with external data file {place}")
        } else if geometry.in_cluster(entry.host()) != 0 {
            let host = entry.host();
            format!("Cluster allocation offset {host:#x} unaligned {place}")
        } else if !geometry.keeps_data && kind.is_stored() {
            format!(
                "External data file host cluster offset {} does not match guest cluster offset: \
                 {}, L2 index: {})",
                Hex(entry.host()),
                Hex(offset - geometry.in_cluster(offset)),
                Hex(index)
            )
        } else {
            format!("Invalid cluster entry found  {place}")
        };
        self.corrupted(request, &text).await
    }

    /// The node that holds the data.
    #[inline]
    pub fn data<'r>(&self, request: Request<'r>) -> Result<Request<'r>, IoError> {
        match self.geometry.keeps_data {
            true => request.file(),
            false => request.child("data-file"),
        }
    }
}
