//! Making an image.

use block_common::error::errno;
use block_common::{IoError, Preallocation};
use block_gs::{CreateImage, Creation, GraphError, Measurement, NewImage};
use block_io::{Buffer, Root};

use crate::format::bytes::put64;
use crate::format::entry::COPIED;
use crate::format::header::{
    Autoclear, Compatible, Compression, Header, Incompatible, MAX_BACKING_NAME,
};
use crate::format::{FormatError, Limits};
use crate::geometry::Geometry;

/// What an image is to be like. Sizes are in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateOptions {
    /// What the guest sees; a multiple of 512.
    pub size: u64,
    /// 2 or 3.
    pub version: u32,
    /// A power of two, 512 to 2 MiB.
    pub cluster_size: u64,
    /// A power of two, up to 64.
    pub refcount_bits: u32,
    /// Counts may be stored late.
    pub lazy_refcounts: bool,
    /// Clusters are divided.
    pub extended_l2: bool,
    /// How clusters are packed that are written compressed.
    pub compression: Compression,
    /// How the space is provided.
    pub preallocation: Preallocation,
    /// The name of the backing image.
    pub backing_file: Option<String>,
    /// Its format.
    pub backing_format: Option<String>,
    /// The name of the file with the data, if that is another one.
    pub data_file: Option<String>,
    /// That file is a raw image.
    pub data_file_raw: bool,
}

impl CreateOptions {
    /// An image of `size` bytes with everything as usual.
    pub fn new(size: u64) -> Self {
        CreateOptions {
            size,
            version: 3,
            cluster_size: 65536,
            refcount_bits: 16,
            lazy_refcounts: false,
            extended_l2: false,
            compression: Compression::Zlib,
            preallocation: Preallocation::Off,
            backing_file: None,
            backing_format: None,
            data_file: None,
            data_file_raw: false,
        }
    }

    /// What is wrong with them, in QEMU's words and order.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn check(&self) -> Result<(), IoError> {
        let refuse = |message: &'static str| Err(IoError::refused(errno::EINVAL, message));
        if !self.size.is_multiple_of(512) {
            return refuse("Image size must be a multiple of 512 bytes");
        }
        let bits = self.cluster_size.trailing_zeros();
        if !self.cluster_size.is_power_of_two() || !Limits::CLUSTER_BITS.contains(&bits) {
            return refuse("Cluster size must be a power of two between 512 and 2048k");
        }
        if self.extended_l2 {
            if self.version < 3 {
                return refuse(
                    "Extended L2 entries are only supported with compatibility level 1.1 and above \
                     (use version=v3 or greater)",
                );
            }
            if self.cluster_size < 16384 {
                return refuse(
                    "Extended L2 entries are only supported with cluster sizes of at least 16384 \
                     bytes",
                );
            }
        }
        if self.preallocation != Preallocation::Off
            && self.backing_file.is_some()
            && !self.extended_l2
        {
            return refuse(
                "Backing file and preallocation can only be used at the same time if extended_l2 \
                 is on",
            );
        }
        if self.version < 3 && self.lazy_refcounts {
            return refuse(
                "Lazy refcounts only supported with compatibility level 1.1 and above (use \
                 version=v3 or greater)",
            );
        }
        if !self.refcount_bits.is_power_of_two() || self.refcount_bits > 64 {
            return refuse("Refcount width must be a power of two and may not exceed 64 bits");
        }
        if self.version < 3 && self.refcount_bits != 16 {
            return refuse(
                "Different refcount widths than 16 bits require compatibility level 1.1 or above \
                 (use version=v3 or greater)",
            );
        }
        if self.backing_format.is_some() && self.backing_file.is_none() {
            return refuse("Backing format cannot be used without backing file");
        }
        if self.data_file_raw && self.data_file.is_none() {
            return refuse("data-file-raw requires data-file");
        }
        if self.data_file_raw && self.backing_file.is_some() {
            return refuse("Backing file and data-file-raw cannot be used at the same time");
        }
        if self.data_file.is_some() && self.version < 3 {
            return refuse(
                "External data files are only supported with compatibility level 1.1 and above \
                 (use version=v3 or greater)",
            );
        }
        if self.compression != Compression::Zlib && self.version < 3 {
            return refuse(
                "Non-zlib compression type is only supported with compatibility level 1.1 and \
                 above (use version=v3 or greater)",
            );
        }
        let too_long = |name: &String| name.len() > MAX_BACKING_NAME;
        if self.backing_file.as_ref().is_some_and(too_long) {
            return Err(FormatError::BackingName.into());
        }
        Ok(())
    }

    fn header(&self) -> Header {
        let bits = self.cluster_size.trailing_zeros();
        let mut header = Header::new(self.version, bits, self.refcount_bits.trailing_zeros());
        header.size = self.size;
        header.compression = self.compression;
        header
            .compatible
            .set(Compatible::LAZY_REFCOUNTS, self.lazy_refcounts);
        let features = &mut header.incompatible;
        features.set(Incompatible::EXTENDED_L2, self.extended_l2);
        features.set(
            Incompatible::COMPRESSION,
            self.compression != Compression::Zlib,
        );
        features.set(Incompatible::DATA_FILE, self.data_file.is_some());
        header
            .autoclear
            .set(Autoclear::RAW_DATA, self.data_file_raw);
        header.backing_file = self.backing_file.clone();
        header.backing_format = self.backing_format.clone();
        header.data_file = self.data_file.clone();
        header
    }

    /// How the clusters of the new image are used.
    fn layout(&self) -> Result<Layout, IoError> {
        let mut header = self.header();
        let geometry = Geometry::of(&header);
        let entries = geometry.l1_entries(self.size);
        if entries * 8 > Limits::L1_BYTES {
            return Err(IoError::from_errno(EFBIG));
        }
        // What is in a raw image is where the guest has it.
        let is_full = self.preallocation != Preallocation::Off || self.data_file_raw;
        let l1 = geometry.clusters_of(entries * 8);
        let l2 = if is_full { entries } else { 0 };
        let data = match is_full && self.data_file.is_none() {
            true => geometry.clusters_of(self.size),
            false => 0,
        };
        let (mut blocks, mut table) = (1, 1);
        loop {
            let total = 1 + table + blocks + l1 + l2 + data;
            let more = total.div_ceil(1 << geometry.block_bits);
            let longer = geometry.clusters_of(more * 8);
            if (more, longer) == (blocks, table) {
                break;
            }
            (blocks, table) = (more, longer);
        }
        if table * geometry.cluster_size() > Limits::REFCOUNT_TABLE_BYTES {
            return Err(IoError::from_errno(EFBIG));
        }
        let l1_first = 1 + table + blocks;
        header.refcount_table_offset = self.cluster_size;
        header.refcount_table_clusters = table as u32;
        header.l1_size = entries as u32;
        header.l1_offset = l1_first << geometry.cluster_bits;
        Ok(Layout {
            header,
            geometry,
            table,
            blocks,
            l2_first: l1_first + l1,
            l2,
            data_first: l1_first + l1 + l2,
            total: l1_first + l1 + l2 + data,
        })
    }

    /// How long the file of such an image becomes when `data` bytes of whole
    /// clusters are in use, and when all are (`qcow2_measure`). Tables are
    /// counted as for all of it.
    ///
    /// # Errors
    /// Those of [`check`](CreateOptions::check); `EFBIG`.
    pub fn measure(&self, data: u64) -> Result<Measurement, IoError> {
        let mut whole = self.clone();
        (whole.backing_file, whole.backing_format) = (None, None);
        // The data counts wherever it is.
        (whole.data_file, whole.data_file_raw) = (None, false);
        whole.preallocation = Preallocation::Metadata;
        whole.check()?;
        let layout = whole.layout()?;
        let bits = layout.geometry.cluster_bits;
        let disk = layout.geometry.clusters_of(self.size) << bits;
        let fully_allocated = layout.total << bits;
        let in_use = match self.preallocation {
            Preallocation::Falloc | Preallocation::Full => disk,
            _ => data.min(disk),
        };
        Ok(Measurement {
            required: fully_allocated - disk + in_use,
            fully_allocated,
            bitmaps: (self.version >= 3).then_some(0),
        })
    }

    /// Writes the image into the file below `file`, whatever it has; `data`
    /// is the file with the data, if that is another one.
    ///
    /// # Errors
    /// Those of [`check`](CreateOptions::check), `EFBIG` for what is too
    /// large; otherwise those of the file. Then there is no image.
    pub async fn write_to(&self, file: &Root, data: Option<&Root>) -> Result<(), IoError> {
        self.check()?;
        if self.data_file_raw && self.preallocation == Preallocation::Off {
            // What the data file has is shown whatever comes of the mapping.
            let mapped = CreateOptions {
                preallocation: Preallocation::Metadata,
                ..self.clone()
            };
            return Box::pin(mapped.write_to(file, data)).await;
        }
        let layout = self.layout()?;
        let size = self.cluster_size;
        let bits = layout.geometry.cluster_bits;
        let below = match self.preallocation {
            Preallocation::Metadata => Preallocation::Off,
            other => other,
        };
        file.truncate(0, false, Preallocation::Off).await?;
        let here = if data.is_some() {
            Preallocation::Off
        } else {
            below
        };
        file.truncate(layout.end(), false, here).await?;
        if let Some(data) = data {
            data.truncate(self.size, false, below).await?;
        }
        // The header comes last: without it there is no image.
        let counts = layout.geometry.counts;
        let per_block = 1u64 << layout.geometry.block_bits;
        let blocks_at = 1 + layout.table;
        for block in 0..layout.blocks {
            let mut buffer = Buffer::zeroed(size as usize);
            let used = (layout.total - block * per_block).min(per_block);
            let bytes = buffer.as_mut_slice();
            for index in 0..used {
                counts.set(bytes, index as usize, 1);
            }
            file.write((blocks_at + block) << bits, buffer.source())
                .await?;
        }
        // All of it, so that it has its place on the disk.
        let rest = (layout.table * size / 8 - layout.blocks) as usize;
        let blocks = (0..layout.blocks).map(|block| (blocks_at + block) << bits);
        write_words(file, size, blocks.chain(std::iter::repeat_n(0, rest))).await?;
        for table in 0..layout.l2 {
            let buffer = layout.l2_table(table, self);
            file.write((layout.l2_first + table) << bits, buffer.source())
                .await?;
        }
        let entries = u64::from(layout.header.l1_size);
        let tables = (0..layout.l2).map(|table| (layout.l2_first + table) << bits | COPIED);
        let none = std::iter::repeat_n(0, (entries - layout.l2) as usize);
        if entries > 0 {
            write_words(file, layout.header.l1_offset, tables.chain(none)).await?;
        }
        file.flush().await?;
        let mut header = Buffer::zeroed(size as usize);
        let bytes = layout.header.write()?;
        header.as_mut_slice()[..bytes.len()].copy_from_slice(&bytes);
        file.write(0, header.source()).await?;
        file.flush().await
    }
}

/// File too large.
const EFBIG: i32 = 27;

/// How the clusters of a new image are used.
struct Layout {
    header: Header,
    geometry: Geometry,
    table: u64,
    blocks: u64,
    l2_first: u64,
    l2: u64,
    data_first: u64,
    total: u64,
}

impl Layout {
    /// How long the file is at first, in bytes. A table of the first level
    /// that is empty takes its entries, and not a whole cluster.
    fn end(&self) -> u64 {
        match self.l2 {
            0 => self.header.l1_offset + u64::from(self.header.l1_size) * 8,
            _ => self.total << self.geometry.cluster_bits,
        }
    }

    /// A second-level table that refers to clusters in their order.
    fn l2_table(&self, table: u64, options: &CreateOptions) -> Buffer {
        let geometry = &self.geometry;
        let mut buffer = Buffer::zeroed(geometry.cluster_size() as usize);
        let bytes = buffer.as_mut_slice();
        let per_table = 1u64 << geometry.l2_bits;
        let clusters = geometry.clusters_of(options.size);
        for index in 0..per_table {
            let cluster = table * per_table + index;
            if cluster >= clusters {
                break;
            }
            let host = match geometry.keeps_data {
                true => self.data_first + cluster,
                false => cluster,
            };
            let at = index as usize * 8 * geometry.words_per_entry;
            put64(bytes, at, host << geometry.cluster_bits | COPIED);
        }
        buffer
    }
}

async fn write_words(
    file: &Root,
    offset: u64,
    words: impl Iterator<Item = u64>,
) -> Result<(), IoError> {
    let bytes: Vec<u8> = words.flat_map(u64::to_be_bytes).collect();
    file.write(offset, Buffer::from(&*bytes).source()).await
}

impl CreateImage for CreateOptions {
    fn unit(&self) -> u64 {
        self.cluster_size
    }

    fn measure(&self, data: u64) -> Result<Measurement, GraphError> {
        Ok(CreateOptions::measure(self, data)?)
    }

    /// Without a data file: who makes that says where.
    fn create(self: Box<Self>, image: NewImage) -> Creation {
        Box::pin(async move { Ok(self.write_to(image.root(), None).await?) })
    }
}
