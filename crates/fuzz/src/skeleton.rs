//! Valid images that an input changes: each has data, zeroes, clusters that
//! are packed, parts that are not there, and a snapshot.

use std::sync::OnceLock;

use block_common::Perm;
use block_gs::{Backend, BlockLayer, BqlGuard, SnapshotInfo};
use block_io::aio::Wait;
use block_io::{Buffer, WriteFlags};
use block_open::{Opener, Options, Value};
use block_qcow2::CreateOptions;
use block_qcow2::format::entry::OFFSET;
use block_qcow2::format::header::{Compression, Header};

use crate::memory::MemoryFile;
use crate::plan::Plan;

/// An image, and where its tables are.
#[derive(Clone, Debug)]
pub struct Skeleton {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its header.
    pub header: Header,
    /// Where each table begins, and how long it is, in bytes: first-level,
    /// second-level, refcount table, refcount blocks, snapshots.
    pub tables: Vec<(u64, u64)>,
}

/// Version, cluster size, bits of a count, subclusters, zstd.
const VARIANTS: &[(u32, u64, u32, bool, bool)] = &[
    (3, 512, 16, false, false),
    (3, 4096, 16, false, true),
    (2, 1024, 16, false, false),
    (3, 16384, 8, true, false),
    (3, 1024, 1, false, false),
    (3, 2048, 64, false, true),
];

/// One of the images, by any number.
pub fn skeleton(which: u8) -> &'static Skeleton {
    static ALL: [OnceLock<Skeleton>; VARIANTS.len()] = [const { OnceLock::new() }; VARIANTS.len()];
    let index = usize::from(which) % VARIANTS.len();
    ALL[index].get_or_init(|| {
        // Whoever calls may be inside of a block layer of its own.
        let made = std::thread::spawn(move || make(index)).join();
        made.expect("an image can be made")
    })
}

fn make(index: usize) -> Skeleton {
    let (version, cluster_size, refcount_bits, extended_l2, zstd) = VARIANTS[index];
    let options = CreateOptions {
        version,
        cluster_size,
        refcount_bits,
        extended_l2,
        compression: if zstd {
            Compression::Zstd
        } else {
            Compression::Zlib
        },
        ..CreateOptions::new(cluster_size * 128)
    };
    let file = MemoryFile::new(&[]);
    let layer = BlockLayer::new().expect("a block layer");
    layer.enter(|bql| {
        let node = file.open(bql, "image").expect("a node");
        let all = Perm::CONSISTENT_READ | Perm::WRITE | Perm::RESIZE;
        let raw = Backend::new(bql, "", all, Perm::all()).expect("a backend");
        raw.insert(bql, &node).expect("nobody else is there");
        bql.block_on(options.write_to(raw.root(), None))
            .expect("made");
        drop(raw);
        bql.poll(Wait::No);
        fill(bql, cluster_size);
        drop(node);
        bql.poll(Wait::No);
    });
    let bytes = file.read(0, file.length() as usize);
    let header = Header::parse(&bytes[..bytes.len().min(cluster_size as usize)]).expect("a header");
    let tables = tables(&bytes, &header);
    Skeleton {
        bytes,
        header,
        tables,
    }
}

fn fill(bql: &mut BqlGuard, size: u64) {
    let mut options = Options::new();
    options.set("driver", "qcow2");
    options.set("file", "image");
    options.set("backing", Value::Null);
    let node = Opener::new().open(bql, options).expect("opened");
    let all = Perm::CONSISTENT_READ | Perm::WRITE;
    let disk = Backend::new(bql, "", all, Perm::all()).expect("a backend");
    disk.insert(bql, &node).expect("nobody else is there");
    let write = |bql: &mut BqlGuard, cluster: u64, clusters: u64, flags: WriteFlags| {
        let mut buffer = Buffer::zeroed((clusters * size) as usize);
        let bytes = buffer.as_mut_slice();
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = (at / 7) as u8 ^ cluster as u8;
        }
        let done = disk
            .root()
            .write_with(cluster * size, buffer.source(), flags);
        bql.block_on(done).expect("written");
    };
    write(bql, 0, 4, WriteFlags::empty());
    write(bql, 70, 2, WriteFlags::empty());
    write(bql, 8, 1, WriteFlags::COMPRESSED);
    write(bql, 9, 1, WriteFlags::COMPRESSED);
    let zeroes = disk
        .root()
        .write_zeroes(12 * size, 2 * size, WriteFlags::MAY_UNMAP);
    bql.block_on(zeroes).expect("zeroed");
    // A count of one bit has no room for what a snapshot shares.
    let mut info = SnapshotInfo {
        name: "one".to_owned(),
        ..SnapshotInfo::default()
    };
    let _ = node.drain(bql).create_snapshot(&mut info);
    write(bql, 2, 1, WriteFlags::empty());
    drop(disk);
    drop(node);
    bql.poll(Wait::No);
}

fn word(bytes: &[u8], at: u64) -> u64 {
    let word = bytes.get(at as usize..at as usize + 8).unwrap_or_default();
    word.iter()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

fn tables(bytes: &[u8], header: &Header) -> Vec<(u64, u64)> {
    let size = header.cluster_size();
    let l1_bytes = u64::from(header.l1_size) * 8;
    let table_bytes = u64::from(header.refcount_table_clusters) * size;
    let mut tables = vec![
        (header.l1_offset, l1_bytes),
        (header.refcount_table_offset, table_bytes),
    ];
    for (offset, length) in tables.clone() {
        let entries = (0..length / 8).map(|index| word(bytes, offset + index * 8) & OFFSET);
        tables.extend(
            entries
                .filter(|entry| *entry != 0)
                .map(|entry| (entry, size)),
        );
    }
    if header.snapshot_count > 0 {
        tables.push((header.snapshots_offset, 128));
    }
    tables
}

impl Skeleton {
    /// Changes words of the tables as the plan has it, up to `most` of them.
    pub fn spoil(&self, plan: &mut Plan<'_>, most: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let changes = usize::from(plan.byte()) % (most + 1);
        for _ in 0..changes {
            let (offset, length) = self.tables[usize::from(plan.byte()) % self.tables.len()];
            let words = (length / 8).max(1);
            // Most entries of a table are empty: those at its beginning matter.
            let index = match plan.word() {
                near @ 0..0xc000 => u64::from(near) % words.min(16),
                far => u64::from(far) % words,
            };
            let at = offset + index * 8;
            let old = word(&bytes, at);
            let new = match plan.byte() % 8 {
                0 => plan.number(),
                1 => old ^ plan.number(),
                2 => old ^ 1 << (plan.byte() % 64),
                3 => 0,
                4 => self.place(plan) | (u64::from(plan.byte() & 0xc1) << 56),
                5 => old & !OFFSET | self.place(plan),
                6 => 1 << 63 | (u64::from(plan.word()) << 40),
                _ => word(&bytes, offset + u64::from(plan.byte()) % words * 8),
            };
            let end = bytes.len().min(at as usize + 8);
            if let Some(to) = bytes.get_mut(at as usize..end) {
                to.copy_from_slice(&new.to_be_bytes()[..to.len()]);
            }
        }
        bytes
    }

    /// Somewhere in the file, or a bit behind it.
    fn place(&self, plan: &mut Plan<'_>) -> u64 {
        let clusters = self.bytes.len() as u64 >> self.header.cluster_bits;
        (u64::from(plan.byte()) % (clusters + 3)) << self.header.cluster_bits
    }
}
