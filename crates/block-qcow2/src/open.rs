//! Opening an image.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use block_common::error::errno;
use block_common::sync::Mutex;
use block_gs::{
    BqlGuard, Drained, GraphError, HeaderBacking, Node, NodeBuilder, NodeOptions, Role,
};
use block_io::{Buffer, GraphCell, IoError, Repairs, Request, Unheard};

use crate::bitmaps;
use crate::clean::Caches;
use crate::driver::Qcow2;
use crate::format::header::{Autoclear, Compatible, Header, Incompatible};
use crate::format::snapshot::{self, Snapshot};
use crate::format::{FormatError, Limits, check_table};
use crate::geometry::Geometry;
use crate::image::{Image, Standing, State};
use crate::options::Qcow2Options;
use crate::refs::Refs;

/// What is read of a file to see what it is, in bytes.
const HEAD: usize = 4096;

/// An image as it is stored, read and not opened yet: its header says which
/// other images it needs.
#[derive(Debug)]
pub struct Qcow2Image {
    file: Node,
    stored: Stored,
    options: Qcow2Options,
    node: NodeOptions,
    backing: Option<Node>,
    data_file: Option<Node>,
    to_be_checked: bool,
    without_io: bool,
}

/// How much of an image has to make sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Strictness {
    /// All that is needed to use it.
    Usable,
    /// What is needed to check it: it may have no snapshots that can be read.
    Checkable,
}

/// The tables of an image.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub header: Header,
    pub l1: Vec<u64>,
    pub table: Vec<u64>,
    pub snapshots: Vec<Snapshot>,
    pub snapshot_bytes: u64,
    pub file_length: u64,
}

/// Whether something begins like an image: 100 for yes, 0 for no.
pub fn probe(beginning: &[u8], _filename: &str) -> u8 {
    let version = crate::format::bytes::be32(beginning, 4);
    let magic = crate::format::bytes::be32(beginning, 0);
    match magic == crate::format::header::MAGIC && version >= 2 {
        true => 100,
        false => 0,
    }
}

impl Qcow2Image {
    /// Reads what `file` says about itself. Needs the exclusive proof because
    /// it waits for I/O.
    ///
    /// # Errors
    /// [`GraphError::Refused`] in QEMU's words when it is no image, or cannot
    /// be used.
    pub fn read(bql: &mut BqlGuard, file: &Node) -> Result<Qcow2Image, GraphError> {
        Qcow2Image::read_as(bql, file, Strictness::Usable)
    }

    /// As [`read`](Qcow2Image::read), for a check (`BDRV_O_CHECK`): an image
    /// that is marked as corrupt or dirty, or whose table of snapshots cannot
    /// be read, can be opened too.
    ///
    /// # Errors
    /// As [`read`](Qcow2Image::read).
    pub fn read_to_be_checked(bql: &mut BqlGuard, file: &Node) -> Result<Qcow2Image, GraphError> {
        Qcow2Image::read_as(bql, file, Strictness::Checkable)
    }

    fn read_as(
        bql: &mut BqlGuard,
        file: &Node,
        strictness: Strictness,
    ) -> Result<Qcow2Image, GraphError> {
        let stored = file
            .drain(bql)
            .io(async |request: Request<'_>| Stored::read(request, strictness).await)?;
        Ok(Qcow2Image {
            file: file.clone(),
            stored,
            options: Qcow2Options::default(),
            node: NodeOptions::default(),
            backing: None,
            data_file: None,
            to_be_checked: strictness == Strictness::Checkable,
            without_io: false,
        })
    }

    /// What the header says about the backing image.
    pub fn backing_file(&self) -> Option<HeaderBacking> {
        let header = &self.stored.header;
        let file = header.backing_file.clone()?;
        Some(HeaderBacking {
            file,
            format: header.backing_format.clone(),
        })
    }

    /// What the header says about the file with the data.
    pub fn data_file_name(&self) -> Option<&str> {
        let header = &self.stored.header;
        header
            .data_file
            .as_deref()
            .filter(|_| header.has_data_file())
    }

    /// Whether the data is in another file.
    pub fn has_data_file(&self) -> bool {
        self.stored.header.has_data_file()
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.stored.header
    }

    /// Sets what the driver can be told.
    #[must_use = "the node is made by `open`"]
    pub fn settings(mut self, options: Qcow2Options) -> Self {
        self.options = options;
        self
    }

    /// Sets what any node can be told.
    #[must_use = "the node is made by `open`"]
    pub fn options(mut self, options: NodeOptions) -> Self {
        self.node = options;
        self
    }

    /// Opens the node for reading only.
    #[must_use = "the node is made by `open`"]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.node.read_only = read_only;
        self
    }

    /// Shows this image where there is nothing.
    #[must_use = "the node is made by `open`"]
    pub fn backing(mut self, backing: &Node) -> Self {
        self.backing = Some(backing.clone());
        self
    }

    /// Nobody is going to read or write the data (`BDRV_O_NO_IO`): it need not
    /// be there.
    #[must_use = "the node is made by `open`"]
    pub fn without_io(mut self, without: bool) -> Self {
        self.without_io = without;
        self
    }

    /// The data is there.
    #[must_use = "the node is made by `open`"]
    pub fn data_file(mut self, data_file: &Node) -> Self {
        self.data_file = Some(data_file.clone());
        self
    }

    /// Makes the node. Needs the exclusive proof because a new node enters
    /// the graph. An image that was left dirty is repaired first if the node
    /// can be written; nobody is told what was wrong with it, unless it is
    /// read [to be checked](Qcow2Image::read_to_be_checked) and checked.
    ///
    /// # Errors
    /// [`GraphError::Refused`] for options that cannot be, or a data file that
    /// is missing or one too many; those of [`NodeBuilder::open`].
    pub fn open(self, bql: &mut BqlGuard, name: &str) -> Result<Node, GraphError> {
        let header = &self.stored.header;
        let refuse = |message: &str| GraphError::Refused {
            message: message.to_owned(),
            errno: errno::EINVAL,
        };
        let is_corrupt = header.incompatible.contains(Incompatible::CORRUPT);
        if is_corrupt && !self.node.read_only && !self.to_be_checked {
            return Err(FormatError::Corrupt.into());
        }
        let geometry = Geometry::of(header);
        let lazy = header.compatible.contains(Compatible::LAZY_REFCOUNTS);
        let settings = self
            .options
            .settle(&geometry, header.size, self.node.unmap, lazy)?;
        let has_data_file = header.has_data_file();
        match &self.data_file {
            None if self.without_io && self.node.read_only => {}
            None if has_data_file => return Err(refuse("'data-file' is required for this image")),
            Some(_) if !has_data_file => {
                let text = "'data-file' can only be set for images with an external data file";
                return Err(refuse(text));
            }
            None if header.has_raw_data() => {
                return Err(refuse("data-file-raw requires a data file"));
            }
            _ => {}
        }
        let Caches { slices, places } = Caches::new(&settings)?;
        let Stored {
            header,
            l1,
            mut table,
            snapshots,
            snapshot_bytes,
            file_length,
        } = self.stored;
        if self.node.read_only && !self.node.inactive && !self.to_be_checked {
            // Who only reads takes no clusters. A long chain has many images.
            let used = table.iter().rposition(|entry| *entry != 0);
            table.truncate(used.map_or(0, |last| last + 1));
            table.shrink_to_fit();
        }
        let first = header.refcount_table_offset >> geometry.cluster_bits;
        let stored = first..first + u64::from(header.refcount_table_clusters);
        let refs = Refs::new(geometry, table, stored, settings.blocks, file_length);
        let mut state = State::new(header, refs, places);
        state.snapshots = snapshots;
        state.snapshot_bytes = snapshot_bytes;
        let role = match has_data_file {
            true => Role::METADATA | Role::PRIMARY,
            false => Role::IMAGE,
        };
        let mut builder = NodeBuilder::new(name)
            .options(self.node)
            .child("file", &self.file, role);
        if let Some(data_file) = &self.data_file {
            builder = builder.child("data-file", data_file, Role::DATA);
        }
        if let Some(backing) = &self.backing {
            builder = builder.child("backing", backing, Role::COW);
        }
        let slices = GraphCell::new(builder.uid(), slices);
        let driver = Qcow2 {
            image: Image::new(geometry, &l1, slices, state, settings),
            options: Mutex::new(self.options),
            main: bql.main_loop(),
            is_to_be_fitted: AtomicBool::new(false),
            cleaner: Mutex::default(),
        };
        let node = builder.open(bql, Arc::new(driver))?;
        if let Some(driver) = node.driver::<Qcow2>() {
            driver.start_cleaning(bql, &node);
        }
        if !self.node.inactive {
            come_to_life(&mut node.drain(bql), self.to_be_checked)?;
        }
        Ok(node)
    }
}

/// What follows when the image has been read and is ours: it gets ready to be
/// written, if it can be, and the node gets its bitmaps.
pub(crate) fn come_to_life(
    section: &mut Drained<'_>,
    to_be_checked: bool,
) -> Result<(), GraphError> {
    let node = section.node().clone();
    let Some(driver) = node.driver::<Qcow2>() else {
        return Ok(());
    };
    if node.view(section).is_writable() && !to_be_checked {
        repair(section, driver)?;
    }
    bitmaps::load(section, driver)
}

/// Gets an image ready to be written that was open for reading only.
///
/// # Errors
/// Writes are refused.
pub(crate) fn become_writable(section: &mut Drained<'_>) -> Result<(), GraphError> {
    let node = section.node().clone();
    let Some(driver) = node.driver::<Qcow2>() else {
        return Ok(());
    };
    driver.image.standing.forget(Standing::UNREPAIRED);
    repair(section, driver)?;
    bitmaps::become_writable(section, driver)
}

/// Takes from the header what does not hold any more once somebody writes, and
/// repairs what was not closed properly. Nobody is told what was wrong.
///
/// # Errors
/// Nothing is written any more, not even when the image is closed.
fn repair(section: &mut Drained<'_>, driver: &Qcow2) -> Result<(), GraphError> {
    try_repair(section, driver).inspect_err(|_| {
        driver.image.standing.note(Standing::UNREPAIRED);
    })
}

fn try_repair(section: &mut Drained<'_>, driver: &Qcow2) -> Result<(), GraphError> {
    let image = &driver.image;
    image.lock().refs.reach_stored();
    let unknown = {
        let header = &mut image.lock().header;
        let unknown = header.autoclear - Autoclear::all();
        header.autoclear &= Autoclear::all();
        !unknown.is_empty()
    };
    if unknown {
        let write = async |request: Request<'_>| image.write_header(request).await;
        section.io(write).map_err(|error| GraphError::Refused {
            message: format!("Could not update qcow2 header: {error}"),
            errno: error.errno(),
        })?;
    }
    let is_dirty = {
        let state = image.lock();
        state.header.incompatible.contains(Incompatible::DIRTY)
    };
    if !is_dirty {
        return Ok(());
    }
    let repairs = Repairs::LEAKS | Repairs::ERRORS;
    let check = async |request: Request<'_>| image.check(request, repairs, &Unheard).await;
    let found = section.io(check).and_then(|found| {
        // Clusters would be given out that are used.
        match found.corruptions > 0 || found.check_errors > 0 {
            true => Err(IoError::from_errno(errno::EIO)),
            false => Ok(()),
        }
    });
    found.map_err(|error| GraphError::Refused {
        message: format!("Could not repair dirty image: {error}"),
        errno: error.errno(),
    })
}

impl Stored {
    /// Reads the tables of the image in the file that `file` is at.
    pub async fn read(file: Request<'_>, strictness: Strictness) -> Result<Stored, GraphError> {
        let file_length = file.length().await?;
        let head = read_bytes(file, 0, HEAD, "Could not read qcow2 header").await?;
        let cluster_size = Header::cluster_size_of(&head)?;
        let head = match cluster_size > HEAD && !Header::is_all_in(&head) {
            true => read_bytes(file, 0, cluster_size, "Could not read qcow2 header").await?,
            false => head,
        };
        let mut header = Header::parse(&head)?;
        match header.crypt_method {
            0 => {}
            method @ 1..=2 => return Err(FormatError::Encrypted(method).into()),
            method => return Err(FormatError::EncryptionMethod(method).into()),
        }
        let size = header.cluster_size();
        if header.refcount_table_clusters == 0 {
            return Err(FormatError::NoRefcounts.into());
        }
        let clusters = u64::from(header.refcount_table_clusters);
        let table_offset = header.refcount_table_offset;
        check_table(
            "Reference count table",
            table_offset,
            clusters,
            size,
            Limits::REFCOUNT_TABLE_BYTES,
            size,
        )?;
        let snapshots_are_there = check_table(
            "Snapshot table",
            header.snapshots_offset,
            u64::from(header.snapshot_count),
            40,
            40 * u64::from(Limits::SNAPSHOTS),
            size,
        );
        if strictness == Strictness::Usable {
            snapshots_are_there.clone()?;
        }
        let l1_size = u64::from(header.l1_size);
        check_table(
            "Active L1 table",
            header.l1_offset,
            l1_size,
            8,
            Limits::L1_BYTES,
            size,
        )?;
        let geometry = Geometry::of(&header);
        let needed = geometry.l1_entries(header.size);
        if needed > i32::MAX as u64 || header.size > block_common::limits::MAX_LENGTH {
            return Err(FormatError::TooBig.into());
        }
        if l1_size < needed {
            return Err(FormatError::L1TooSmall.into());
        }
        let l1 = read_there(
            file,
            header.l1_offset,
            l1_size,
            file_length,
            "Could not read L1 table",
        );
        let l1 = l1.await?;
        let text = "Could not initialize refcount handling";
        let entries = clusters * size / 8;
        let table = read_words(file, table_offset, entries, file_length, text).await?;
        header.read_extensions(&head)?;
        let read = match snapshots_are_there {
            Ok(()) => read_snapshots(file, &header, file_length).await,
            Err(error) => Err(error.into()),
        };
        let (snapshots, snapshot_bytes) = match (read, strictness) {
            (Err(_), Strictness::Checkable) => (Vec::new(), 0),
            (read, _) => read?,
        };
        Ok(Stored {
            header,
            l1,
            table,
            snapshots,
            snapshot_bytes,
            file_length,
        })
    }
}

/// Why tables cannot be read, for a request.
pub(crate) fn without_advice(error: GraphError) -> IoError {
    match error {
        GraphError::Io(error) => error,
        error => IoError::refused(error.errno(), error.to_string()),
    }
}

/// Reads the table of snapshots, and says how long it is.
async fn read_snapshots(
    file: Request<'_>,
    header: &Header,
    file_length: u64,
) -> Result<(Vec<Snapshot>, u64), GraphError> {
    if header.snapshot_count == 0 {
        return Ok((Vec::new(), 0));
    }
    // What the file lacks is zero; so are snapshots without a name.
    let there = file_length.saturating_sub(header.snapshots_offset);
    let nameless = snapshot::FIXED as u64 * u64::from(header.snapshot_count);
    // One entry may reach beyond the end, or beyond the limit.
    let bytes = (there + nameless).min(Limits::SNAPSHOT_TABLE_BYTES) as usize;
    let bytes = bytes + snapshot::LONGEST;
    // Most tables are short; what is too short is read once more.
    let mut length = bytes.min(64 << 10);
    loop {
        let text = "Failed to read snapshot table";
        let table = read_bytes(file, header.snapshots_offset, length, text).await?;
        match snapshot::parse(&table, header.snapshot_count, header.size) {
            Ok((snapshots, used)) => return Ok((snapshots, used as u64)),
            Err(FormatError::SnapshotTable(_)) if length < bytes => {
                length = length.saturating_mul(8).min(bytes);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads bytes of a file; what it lacks is zero.
pub(crate) async fn read_bytes(
    file: Request<'_>,
    offset: u64,
    length: usize,
    text: &'static str,
) -> Result<Vec<u8>, IoError> {
    let read = read_buffer(file, offset, length, text).await?;
    Ok(read.as_slice().to_vec())
}

async fn read_buffer(
    file: Request<'_>,
    offset: u64,
    length: usize,
    text: &'static str,
) -> Result<Buffer, IoError> {
    let mut buffer = Buffer::zeroed(length);
    let read = file.read(offset, buffer.destination()).await;
    read.map_err(|error| IoError::refused(error.errno(), format!("{text}: {error}")))?;
    Ok(buffer)
}

/// Reads a table. What is beyond the end of the file is zero, and not read.
pub(crate) async fn read_words(
    file: Request<'_>,
    offset: u64,
    count: u64,
    file_length: u64,
    text: &'static str,
) -> Result<Vec<u64>, IoError> {
    let mut words = read_there(file, offset, count, file_length, text).await?;
    words.resize(count as usize, 0);
    Ok(words)
}

/// As [`read_words`], without the zeroes beyond the end of the file: a header
/// can claim a table that is longer than its image.
pub(crate) async fn read_there(
    file: Request<'_>,
    offset: u64,
    count: u64,
    file_length: u64,
    text: &'static str,
) -> Result<Vec<u64>, IoError> {
    let there = file_length.saturating_sub(offset).min(count * 8) as usize;
    let bytes = read_buffer(file, offset, there, text).await?;
    Ok(words_of(bytes.as_slice()))
}

/// The words of a table; a last one that is cut off is zero.
fn words_of(bytes: &[u8]) -> Vec<u64> {
    /// So many words at a time.
    const ROW: usize = 64;
    // Most of most tables is zero, and memory that is not written to is not
    // taken from the system.
    let mut words = vec![0; bytes.len().div_ceil(8)];
    let (stored, _) = bytes.as_chunks::<8>();
    for (row, stored) in words.chunks_mut(ROW).zip(stored.chunks(ROW)) {
        let any = stored
            .iter()
            .fold(0, |any, word| any | u64::from_ne_bytes(*word));
        if any != 0 {
            for (word, stored) in row.iter_mut().zip(stored) {
                *word = u64::from_be_bytes(*stored);
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::bytes::be64;

    #[test]
    fn a_table_is_read_word_by_word_however_long() {
        for length in [0, 1, 8, 63, 64, 511, 512, 513, 5000] {
            let byte = |at: usize| if at % 700 < 40 { at as u8 } else { 0 };
            let bytes: Vec<u8> = (0..length).map(byte).collect();
            let words: Vec<u64> = bytes.chunks(8).map(|word| be64(word, 0)).collect();
            assert_eq!(words_of(&bytes), words, "{length}");
        }
    }
}
