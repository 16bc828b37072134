//! The header: the first cluster of an image.

use super::bytes::{be32, be64, put32, put64};
use super::{FormatError, Limits};

/// What an image begins with.
pub const MAGIC: u32 = 0x5146_49fb;

/// How long the header of version 2 is, in bytes.
const V2_LENGTH: usize = 72;

/// How long the header of version 3 is at least, in bytes.
const V3_LENGTH: usize = 104;

/// How long the header is with all fields that are known, in bytes.
const KNOWN_LENGTH: usize = 112;

/// Where the [fields](Header::fields) begin that say sizes and places.
pub const FIELDS: u64 = 24;

/// Where the [features](Header::features) are in an image of version 3.
pub const FEATURES: u64 = 72;

/// The longest name of a backing image, in bytes.
pub const MAX_BACKING_NAME: usize = 1023;

bitflags::bitflags! {
    /// Features without which an image cannot be understood.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Incompatible: u64 {
        /// The reference counts may be wrong (lazy refcounts).
        const DIRTY = 1;
        /// Something was found to be wrong; read-only until repaired.
        const CORRUPT = 1 << 1;
        /// The guest's data is in another file.
        const DATA_FILE = 1 << 2;
        /// The compression is not deflate.
        const COMPRESSION = 1 << 3;
        /// Second-level entries have 128 bits and subclusters.
        const EXTENDED_L2 = 1 << 4;
    }

    /// Features that may be ignored.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Compatible: u64 {
        /// Reference counts may be written late.
        const LAZY_REFCOUNTS = 1;
    }

    /// Features that whoever does not know them takes away.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Autoclear: u64 {
        /// The bitmaps fit the data.
        const BITMAPS = 1;
        /// The data file is a raw image of the guest's disk.
        const RAW_DATA = 1 << 1;
    }
}

/// How compressed clusters are packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// Raw deflate with a window of 4 KiB.
    #[default]
    Zlib,
    /// Zstandard frames.
    Zstd,
}

impl Compression {
    /// The name as options have it.
    pub fn name(self) -> &'static str {
        match self {
            Compression::Zlib => "zlib",
            Compression::Zstd => "zstd",
        }
    }
}

/// Where the bitmaps are (the bitmaps extension).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BitmapsExtension {
    /// How many there are.
    pub count: u32,
    /// How long their directory is, in bytes.
    pub directory_size: u64,
    /// Where it is.
    pub directory_offset: u64,
}

/// The header of an image, with its extensions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// A cluster has `1 << cluster_bits` bytes.
    pub cluster_bits: u32,
    /// What the guest sees, in bytes.
    pub size: u64,
    /// 0 for none, 1 for AES, 2 for LUKS.
    pub crypt_method: u32,
    /// How many entries the first-level table has.
    pub l1_size: u32,
    /// Where it is.
    pub l1_offset: u64,
    /// Where the refcount table is.
    pub refcount_table_offset: u64,
    /// How many clusters it takes.
    pub refcount_table_clusters: u32,
    /// How many snapshots there are.
    pub snapshot_count: u32,
    /// Where their table is.
    pub snapshots_offset: u64,
    /// Features that must be understood, unknown ones included.
    pub incompatible: Incompatible,
    /// Features that may be ignored, unknown ones included.
    pub compatible: Compatible,
    /// Features that hold until somebody writes who does not know them.
    pub autoclear: Autoclear,
    /// A reference count has `1 << refcount_order` bits.
    pub refcount_order: u32,
    /// How compressed clusters are packed.
    pub compression: Compression,
    /// Fields behind those that are known.
    pub unknown_fields: Vec<u8>,
    /// The name of the backing image.
    pub backing_file: Option<String>,
    /// Its format.
    pub backing_format: Option<String>,
    /// The name of the data file.
    pub data_file: Option<String>,
    /// Where the bitmaps are. `None` also when they do not hold any more.
    pub bitmaps: Option<BitmapsExtension>,
    /// Extensions that are not known, by type, in order.
    pub unknown_extensions: Vec<(u32, Vec<u8>)>,
    /// How long the header was, where the extensions begin, in bytes.
    header_length: usize,
    /// Where the backing name is, and how long.
    backing_name: (u64, u32),
}

/// The types of extensions.
mod extension {
    /// There are no more.
    pub const END: u32 = 0;
    /// The format of the backing image.
    pub const BACKING_FORMAT: u32 = 0xe279_2aca;
    /// What features are called.
    pub const FEATURE_NAMES: u32 = 0x6803_f857;
    /// Where the header of the encryption is.
    pub const CRYPTO: u32 = 0x0537_be77;
    /// Where the bitmaps are.
    pub const BITMAPS: u32 = 0x2385_2875;
    /// The name of the file with the data.
    pub const DATA_FILE: u32 = 0x4441_5441;
}

/// The names of the features that are known, by kind and bit.
const FEATURE_NAMES: &[(u8, u8, &str)] = &[
    (0, 0, "dirty bit"),
    (0, 1, "corrupt bit"),
    (0, 2, "external data file"),
    (0, 3, "compression type"),
    (0, 4, "extended L2 entries"),
    (1, 0, "lazy refcounts"),
    (2, 0, "bitmaps"),
    (2, 1, "raw external data"),
];

/// How long an entry of the table of feature names is, in bytes.
const FEATURE_NAME: usize = 48;

/// How many bitmaps an image has at most.
const MAX_BITMAPS: u32 = 65535;

/// How long the directory of bitmaps is at most, in bytes.
const MAX_BITMAP_DIRECTORY: u64 = MAX_BITMAPS as u64 * 1024;

impl Header {
    /// How large the cluster is that the header says, so that its first
    /// cluster can be read.
    ///
    /// # Errors
    /// [`FormatError`] for what is no such image.
    pub fn cluster_size_of(head: &[u8]) -> Result<usize, FormatError> {
        if be32(head, 0) != MAGIC {
            return Err(FormatError::NotQcow2);
        }
        let version = be32(head, 4);
        if !(2..=3).contains(&version) {
            return Err(FormatError::Version(version));
        }
        let cluster_bits = be32(head, 20);
        if !Limits::CLUSTER_BITS.contains(&cluster_bits) {
            return Err(FormatError::ClusterBits(cluster_bits));
        }
        Ok(1 << cluster_bits)
    }

    /// Whether all that there is to read is in `head`, the beginning of the
    /// first cluster: the rest of the cluster need not be read.
    pub fn is_all_in(head: &[u8]) -> bool {
        let mut at = match be32(head, 4) {
            2 => V2_LENGTH,
            _ => be32(head, 100) as usize,
        };
        let (name, name_length) = (be64(head, 8), be32(head, 16));
        let end = match name {
            0 => usize::MAX,
            name => usize::try_from(name).unwrap_or(usize::MAX),
        };
        while at < end {
            if at.saturating_add(8) > head.len() {
                return false;
            }
            let (kind, length) = (be32(head, at), be32(head, at + 4) as usize);
            at += 8;
            if kind == extension::END {
                break;
            }
            at = at.saturating_add(length.next_multiple_of(8));
        }
        let name_end = name.saturating_add(u64::from(name_length));
        at <= head.len() && (name == 0 || name_end <= head.len() as u64)
    }

    /// Reads the fields of the header; the extensions are left for
    /// [`read_extensions`](Header::read_extensions). `head` is the first
    /// cluster; what the file lacks of it reads as zeroes.
    ///
    /// # Errors
    /// [`FormatError`], in the order in which QEMU looks.
    pub fn parse(head: &[u8]) -> Result<Header, FormatError> {
        let cluster_size = Header::cluster_size_of(head)?;
        let version = be32(head, 4);
        let is_v3 = version >= 3;
        let v3 = |field: u64| if is_v3 { field } else { 0 };
        let header_length = match is_v3 {
            true => be32(head, 100) as usize,
            false => V2_LENGTH,
        };
        if is_v3 && header_length < V3_LENGTH {
            return Err(FormatError::HeaderTooShort);
        }
        if header_length > cluster_size {
            return Err(FormatError::HeaderTooLong);
        }
        let unknown_fields = head.get(KNOWN_LENGTH..header_length).unwrap_or_default();
        let backing_name = (be64(head, 8), be32(head, 16));
        if backing_name.0 > cluster_size as u64 {
            return Err(FormatError::BackingOffset);
        }
        let incompatible = Incompatible::from_bits_retain(v3(be64(head, 72)));
        let compression = match header_length > V3_LENGTH {
            true => head[V3_LENGTH],
            false => 0,
        };
        let not_zlib = incompatible.contains(Incompatible::COMPRESSION);
        let compression = match (compression, not_zlib) {
            (0, false) => Compression::Zlib,
            (1, true) => Compression::Zstd,
            (0, true) => return Err(FormatError::CompressionBit(false)),
            (1, false) => return Err(FormatError::CompressionBit(true)),
            (other, _) => return Err(FormatError::Compression(other)),
        };
        let mut header = Header {
            version,
            cluster_bits: be32(head, 20),
            size: be64(head, 24),
            crypt_method: be32(head, 32),
            l1_size: be32(head, 36),
            l1_offset: be64(head, 40),
            refcount_table_offset: be64(head, 48),
            refcount_table_clusters: be32(head, 56),
            snapshot_count: be32(head, 60),
            snapshots_offset: be64(head, 64),
            incompatible,
            compatible: Compatible::from_bits_retain(v3(be64(head, 80))),
            autoclear: Autoclear::from_bits_retain(v3(be64(head, 88))),
            refcount_order: if is_v3 { be32(head, 96) } else { 4 },
            compression,
            unknown_fields: unknown_fields.to_vec(),
            backing_file: None,
            backing_format: None,
            data_file: None,
            bitmaps: None,
            unknown_extensions: Vec::new(),
            header_length,
            backing_name,
        };
        let unknown = incompatible - Incompatible::all();
        if !unknown.is_empty() {
            let names = header.feature_names(head);
            return Err(FormatError::UnknownFeatures(names_of(unknown, &names)));
        }
        header.check_sizes()?;
        header.backing_format = None;
        Ok(header)
    }

    fn check_sizes(&self) -> Result<(), FormatError> {
        let subcluster_bits = self.subcluster_bits();
        if subcluster_bits < *Limits::CLUSTER_BITS.start() {
            return Err(FormatError::SubclusterSize(1 << subcluster_bits));
        }
        if self.refcount_order > Limits::REFCOUNT_ORDER {
            return Err(FormatError::RefcountOrder);
        }
        Ok(())
    }

    /// Reads the extensions and the name of the backing image. `head` is the
    /// first cluster.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn read_extensions(&mut self, head: &[u8]) -> Result<(), FormatError> {
        self.each_extension(head, |header, kind, data| {
            match kind {
                extension::BACKING_FORMAT => {
                    header.backing_format = Some(text_of(data, 16, FormatError::BackingFormat)?);
                }
                extension::FEATURE_NAMES => {}
                extension::CRYPTO => {
                    if header.crypt_method != 2 {
                        return Err(FormatError::CryptoExtension);
                    }
                    header.unknown_extensions.push((kind, data.to_vec()));
                }
                extension::BITMAPS => header.read_bitmaps(data)?,
                extension::DATA_FILE => {
                    header.data_file = Some(text_of(data, usize::MAX, FormatError::BackingFormat)?);
                }
                _ => header.unknown_extensions.push((kind, data.to_vec())),
            }
            Ok(())
        })?;
        let (offset, length) = self.backing_name;
        if offset != 0 {
            let offset = offset as usize;
            let room = MAX_BACKING_NAME.min((1 << self.cluster_bits) - offset);
            let name = head.get(offset..offset + length as usize);
            let name = name.filter(|_| length as usize <= room);
            let name = name.ok_or(FormatError::BackingName)?;
            self.backing_file = Some(String::from_utf8_lossy(name).into_owned());
        }
        Ok(())
    }

    fn each_extension(
        &mut self,
        head: &[u8],
        mut each: impl FnMut(&mut Header, u32, &[u8]) -> Result<(), FormatError>,
    ) -> Result<(), FormatError> {
        let end = match self.backing_name.0 {
            0 => 1 << self.cluster_bits,
            offset => offset as usize,
        };
        let mut at = self.header_length;
        while at < end {
            let kind = be32(head, at);
            let length = be32(head, at + 4) as usize;
            at += 8;
            if at > end || length > end - at {
                return Err(FormatError::ExtensionTooLarge);
            }
            if kind == extension::END {
                break;
            }
            let data = head
                .get(at..at + length)
                .ok_or(FormatError::ExtensionTooLarge)?;
            each(self, kind, data)?;
            at += length.next_multiple_of(8);
        }
        Ok(())
    }

    fn read_bitmaps(&mut self, data: &[u8]) -> Result<(), FormatError> {
        if data.len() != 24 {
            return Err(FormatError::BitmapsLength);
        }
        if !self.autoclear.contains(Autoclear::BITMAPS) {
            // Somebody wrote who did not keep them.
            return Ok(());
        }
        if be32(data, 4) != 0 {
            return Err(FormatError::BitmapsReserved);
        }
        let found = BitmapsExtension {
            count: be32(data, 0),
            directory_size: be64(data, 8),
            directory_offset: be64(data, 16),
        };
        if found.count > MAX_BITMAPS {
            return Err(FormatError::BitmapsCount(found.count, MAX_BITMAPS));
        }
        if found.count == 0 {
            return Err(FormatError::NoBitmaps);
        }
        if !found
            .directory_offset
            .is_multiple_of(1 << self.cluster_bits)
        {
            return Err(FormatError::BitmapsOffset);
        }
        if found.directory_size > MAX_BITMAP_DIRECTORY {
            let most = MAX_BITMAP_DIRECTORY;
            return Err(FormatError::BitmapsSize(found.directory_size, most));
        }
        self.bitmaps = Some(found);
        Ok(())
    }

    /// What the image itself calls its incompatible features.
    fn feature_names(&mut self, head: &[u8]) -> Vec<(u8, String)> {
        let mut names = Vec::new();
        // What is wrong with extensions does not matter any more.
        let _ = self.each_extension(head, |_, kind, data| {
            if kind == extension::FEATURE_NAMES {
                let known = data
                    .chunks_exact(FEATURE_NAME)
                    .filter(|entry| entry[0] == 0);
                names.extend(known.map(|entry| (entry[1], until_nul(&entry[2..]))));
            }
            Ok(())
        });
        names
    }

    /// A cluster in bytes.
    pub fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Whether second-level entries have subclusters.
    pub fn has_subclusters(&self) -> bool {
        self.incompatible.contains(Incompatible::EXTENDED_L2)
    }

    /// A subcluster has `1 << subcluster_bits` bytes.
    pub fn subcluster_bits(&self) -> u32 {
        self.cluster_bits - if self.has_subclusters() { 5 } else { 0 }
    }

    /// Whether the guest's data is in another file.
    pub fn has_data_file(&self) -> bool {
        self.incompatible.contains(Incompatible::DATA_FILE)
    }

    /// Whether that file is a raw image of the guest's disk.
    pub fn has_raw_data(&self) -> bool {
        self.autoclear.contains(Autoclear::RAW_DATA)
    }

    /// A header of version `version` for an empty image, without tables.
    pub fn new(version: u32, cluster_bits: u32, refcount_order: u32) -> Header {
        Header {
            version,
            cluster_bits,
            size: 0,
            crypt_method: 0,
            l1_size: 0,
            l1_offset: 0,
            refcount_table_offset: 0,
            refcount_table_clusters: 0,
            snapshot_count: 0,
            snapshots_offset: 0,
            incompatible: Incompatible::empty(),
            compatible: Compatible::empty(),
            autoclear: Autoclear::empty(),
            refcount_order,
            compression: Compression::Zlib,
            unknown_fields: Vec::new(),
            backing_file: None,
            backing_format: None,
            data_file: None,
            bitmaps: None,
            unknown_extensions: Vec::new(),
            header_length: if version >= 3 {
                KNOWN_LENGTH
            } else {
                V2_LENGTH
            },
            backing_name: (0, 0),
        }
    }

    /// The fields at [`FIELDS`] that say how long the image is, and where its
    /// tables are. They are in the first sector of every image.
    pub fn fields(&self) -> [u8; V2_LENGTH - FIELDS as usize] {
        let mut head = [0; V2_LENGTH];
        self.put_fields(&mut head);
        let mut fields = [0; V2_LENGTH - FIELDS as usize];
        fields.copy_from_slice(&head[FIELDS as usize..]);
        fields
    }

    /// The features at [`FEATURES`], which are in the first sector, too.
    pub fn features(&self) -> [u8; 24] {
        let mut features = [0; 24];
        put64(&mut features, 0, self.incompatible.bits());
        put64(&mut features, 8, self.compatible.bits());
        put64(&mut features, 16, self.autoclear.bits());
        features
    }

    fn put_fields(&self, out: &mut [u8]) {
        put64(out, 24, self.size);
        put32(out, 32, self.crypt_method);
        put32(out, 36, self.l1_size);
        put64(out, 40, self.l1_offset);
        put64(out, 48, self.refcount_table_offset);
        put32(out, 56, self.refcount_table_clusters);
        put32(out, 60, self.snapshot_count);
        put64(out, 64, self.snapshots_offset);
    }

    /// The header as it is stored, as long as it has to be.
    ///
    /// # Errors
    /// [`FormatError::HeaderFull`] when it does not fit into a cluster,
    /// [`FormatError::NameIsNoText`] when a name was read that is no text.
    pub fn write(&self) -> Result<Vec<u8>, FormatError> {
        let names = [&self.backing_file, &self.backing_format, &self.data_file];
        if names
            .into_iter()
            .flatten()
            .any(|name| name.contains(NO_TEXT))
        {
            return Err(FormatError::NameIsNoText);
        }
        let is_v3 = self.version >= 3;
        let length = match is_v3 {
            true => KNOWN_LENGTH + self.unknown_fields.len(),
            false => V2_LENGTH,
        };
        let mut out = vec![0; length];
        put32(&mut out, 0, MAGIC);
        put32(&mut out, 4, self.version);
        put32(&mut out, 20, self.cluster_bits);
        self.put_fields(&mut out);
        if is_v3 {
            put64(&mut out, 72, self.incompatible.bits());
            put64(&mut out, 80, self.compatible.bits());
            put64(&mut out, 88, self.autoclear.bits());
            put32(&mut out, 96, self.refcount_order);
            put32(&mut out, 100, length as u32);
            out[V3_LENGTH] = self.compression as u8;
            out[KNOWN_LENGTH..].copy_from_slice(&self.unknown_fields);
        }
        self.write_extensions(&mut out);
        if let Some(name) = &self.backing_file {
            let offset = out.len() as u64;
            put64(&mut out, 8, offset);
            put32(&mut out, 16, name.len() as u32);
            out.extend_from_slice(name.as_bytes());
        }
        match out.len() as u64 > self.cluster_size() {
            true => Err(FormatError::HeaderFull),
            false => Ok(out),
        }
    }

    fn write_extensions(&self, out: &mut Vec<u8>) {
        if let Some(format) = &self.backing_format {
            push(out, extension::BACKING_FORMAT, format.as_bytes());
        }
        if let Some(name) = self.data_file.as_ref().filter(|_| self.has_data_file()) {
            push(out, extension::DATA_FILE, name.as_bytes());
        }
        // In a small cluster there may be no room for it besides a name.
        if self.version >= 3 && self.cluster_bits > 12 {
            let mut names = Vec::with_capacity(FEATURE_NAMES.len() * FEATURE_NAME);
            for (kind, bit, name) in FEATURE_NAMES {
                let mut entry = [0; FEATURE_NAME];
                entry[0] = *kind;
                entry[1] = *bit;
                entry[2..2 + name.len()].copy_from_slice(name.as_bytes());
                names.extend_from_slice(&entry);
            }
            push(out, extension::FEATURE_NAMES, &names);
        }
        if let Some(bitmaps) = &self.bitmaps {
            let mut data = [0; 24];
            put32(&mut data, 0, bitmaps.count);
            put64(&mut data, 8, bitmaps.directory_size);
            put64(&mut data, 16, bitmaps.directory_offset);
            push(out, extension::BITMAPS, &data);
        }
        for (kind, data) in &self.unknown_extensions {
            push(out, *kind, data);
        }
        push(out, extension::END, &[]);
    }
}

fn push(out: &mut Vec<u8>, kind: u32, data: &[u8]) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(data.len() as u32).to_be_bytes());
    // From where its data begins: the header itself may have any length.
    let end = out.len() + data.len().next_multiple_of(8);
    out.extend_from_slice(data);
    out.resize(end, 0);
}

/// Stands for bytes that are no text: a name with it was another one.
const NO_TEXT: char = char::REPLACEMENT_CHARACTER;

fn until_nul(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}

fn text_of(
    data: &[u8],
    room: usize,
    too_long: fn(usize) -> FormatError,
) -> Result<String, FormatError> {
    match data.len() >= room {
        true => Err(too_long(data.len())),
        false => Ok(until_nul(data)),
    }
}

/// The names of all features in `unknown`, as the image has them, or their
/// bits.
fn names_of(unknown: Incompatible, names: &[(u8, String)]) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut left = unknown.bits();
    for (bit, name) in names {
        let mask = 1u64.checked_shl(u32::from(*bit)).unwrap_or(0);
        if left & mask != 0 {
            words.push(name.clone());
            left &= !mask;
        }
    }
    if left != 0 {
        words.push(format!("Unknown incompatible feature: {left:x}"));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// It would be written back as another name.
    #[test]
    fn a_name_that_is_no_text_is_read_and_not_written() {
        let mut header = Header::new(3, 16, 4);
        header.backing_file = Some("base-name".to_owned());
        let mut bytes = whole(&header);
        let at = bytes.windows(9).position(|window| window == b"base-name");
        bytes[at.expect("there")] = 0xe4;
        let mut read = Header::parse(&bytes).expect("a header");
        read.read_extensions(&bytes).expect("they are right");
        assert_eq!(read.write(), Err(FormatError::NameIsNoText));
        read.backing_file = Some("other".to_owned());
        read.write().expect("a name");
    }

    fn whole(header: &Header) -> Vec<u8> {
        let mut bytes = header.write().expect("it fits");
        bytes.resize(1 << header.cluster_bits, 0);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Header, FormatError> {
        let mut header = Header::parse(bytes)?;
        header.read_extensions(bytes)?;
        Ok(header)
    }

    proptest! {
        #[test]
        fn headers_survive(
            numbers in (9u32..=21, 0u32..=6, any::<u64>(), any::<u32>(), any::<u64>()),
            version in 2u32..=3,
            backing in proptest::option::of("[a-z/]{1,60}"),
            format in proptest::option::of("[a-z]{1,15}"),
            unknown in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..24)),
        ) {
            let (cluster_bits, order, size, l1_size, l1_offset) = numbers;
            let cluster_bits = cluster_bits.max(10);
            let order = if version == 2 { 4 } else { order };
            let mut header = Header::new(version, cluster_bits, order);
            header.size = size;
            header.l1_size = l1_size;
            header.l1_offset = l1_offset;
            header.backing_file = backing;
            header.backing_format = format;
            header.unknown_extensions.extend(unknown.map(|data| (0x1234_5678, data)));
            if version == 3 {
                header.compatible = Compatible::LAZY_REFCOUNTS;
                header.unknown_fields = vec![7; 8];
            }
            let all = whole(&header);
            for beginning in [1024, 300, 120].map(|bytes| &all[..bytes]) {
                if Header::is_all_in(beginning) {
                    prop_assert_eq!(read(beginning).ok(), read(&all).ok());
                }
            }
            prop_assert!(Header::is_all_in(&all));
            let mut again = read(&all).expect("well formed");
            again.header_length = header.header_length;
            again.backing_name = (0, 0);
            prop_assert_eq!(again, header);
        }

        #[test]
        fn anything_is_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let _ = read(&bytes);
            if bytes.len() > 104 {
                let seed = bytes.clone();
                put32(&mut bytes, 0, MAGIC);
                put32(&mut bytes, 4, 2 + u32::from(seed[7] & 1));
                put32(&mut bytes, 20, 9 + u32::from(seed[23] % 13));
                put32(&mut bytes, 100, 104);
                put64(&mut bytes, 72, 0);
                put64(&mut bytes, 8, u64::from(seed[15]));
                bytes[104] = 0;
                let _ = read(&bytes);
            }
        }
    }
}
