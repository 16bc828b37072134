//! What is stored in a qcow2 image, to be looked at and damaged.
//!
//! It knows the format by itself, and nothing of the driver: what a driver
//! thinks an image is like is what the tests are about.

use std::fs;
use std::path::Path;

/// Where something is, in an entry of a table.
pub const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// The flag of an entry that says that nothing else refers there.
pub const COPIED: u64 = 1 << 63;

/// The bytes of a qcow2 image. Places are in bytes from its beginning; what
/// an entry refers to comes without the entry's flags.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored(pub Vec<u8>);

impl Stored {
    /// Those of a file.
    ///
    /// # Panics
    /// When it cannot be read.
    #[track_caller]
    pub fn read(path: &Path) -> Stored {
        Stored(fs::read(path).expect("read"))
    }

    /// Makes a file have them, and nothing else.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn write(&self, path: &Path) {
        fs::write(path, &self.0).expect("written");
    }

    /// Changes those of a file.
    ///
    /// # Panics
    /// When it cannot be read or written.
    #[track_caller]
    pub fn damage(path: &Path, damage: impl FnOnce(&mut Stored)) {
        let mut stored = Stored::read(path);
        damage(&mut stored);
        stored.write(path);
    }

    /// A word of 64 bits.
    ///
    /// # Panics
    /// When it is not in the image, as all below do.
    pub fn get(&self, at: u64) -> u64 {
        let at = at as usize;
        u64::from_be_bytes(self.0[at..at + 8].try_into().expect("eight"))
    }

    /// A word of 32 bits.
    pub fn get32(&self, at: u64) -> u32 {
        let at = at as usize;
        u32::from_be_bytes(self.0[at..at + 4].try_into().expect("four"))
    }

    /// Where an entry refers to.
    pub fn place(&self, at: u64) -> u64 {
        self.get(at) & OFFSET
    }

    /// Puts bytes somewhere; the image grows if it has to.
    pub fn put_bytes(&mut self, at: u64, bytes: &[u8]) {
        put(&mut self.0, at, bytes);
    }

    /// As [`put_bytes`](Stored::put_bytes), a word of 64 bits.
    pub fn put(&mut self, at: u64, value: u64) {
        self.put_bytes(at, &value.to_be_bytes());
    }

    /// As [`put_bytes`](Stored::put_bytes), a word of 32 bits.
    pub fn put32(&mut self, at: u64, value: u32) {
        self.put_bytes(at, &value.to_be_bytes());
    }

    /// Makes a word of 64 bits another one.
    pub fn change(&mut self, at: u64, change: impl FnOnce(u64) -> u64) {
        self.put(at, change(self.get(at)));
    }

    /// How large a cluster is, as the power of two.
    pub fn bits(&self) -> u32 {
        self.get32(20)
    }

    /// How large a cluster is, in bytes.
    pub fn cluster_size(&self) -> u64 {
        1 << self.bits()
    }

    /// How many clusters the file has; the last one may be cut off.
    pub fn clusters(&self) -> u64 {
        (self.0.len() as u64).div_ceil(self.cluster_size())
    }

    /// Where the first-level table is.
    pub fn l1(&self) -> u64 {
        self.get(40)
    }

    /// Where each of the second-level tables is; 0 for none.
    pub fn l2_tables(&self) -> Vec<u64> {
        let entries = u64::from(self.get32(36));
        (0..entries)
            .map(|index| self.place(self.l1() + index * 8))
            .collect()
    }

    /// Where the first second-level table is.
    pub fn l2(&self) -> u64 {
        self.place(self.l1())
    }

    /// Where the entry of a cluster of the guest is, by the first
    /// second-level table.
    pub fn entry(&self, number: u64) -> u64 {
        let wide = self.get(72) & 16 != 0;
        self.l2() + number * if wide { 16 } else { 8 }
    }

    /// Which cluster of the file a cluster of the guest is.
    pub fn host(&self, number: u64) -> u64 {
        self.place(self.entry(number)) >> self.bits()
    }

    /// Where the table of blocks of counts is.
    pub fn table(&self) -> u64 {
        self.get(48)
    }

    /// Where the first block of counts is.
    pub fn block(&self) -> u64 {
        self.get(self.table())
    }

    /// Sets a count of the first block; counts are 16 bits wide.
    pub fn count(&mut self, cluster: u64, count: u16) {
        self.put_bytes(self.block() + cluster * 2, &count.to_be_bytes());
    }

    /// Adds a cluster that is counted, and not used.
    pub fn leak(&mut self) {
        let cluster = self.clusters();
        self.count(cluster, 1);
        let length = (cluster + 1) * self.cluster_size();
        self.0.resize(length as usize, 0);
    }

    /// Where the table of snapshots is.
    pub fn snapshots(&self) -> u64 {
        self.get(64)
    }

    /// What follows the header's extension for bitmaps.
    pub fn bitmaps(&self) -> u64 {
        let mut at = self.get(96) & 0xffff_ffff;
        loop {
            let (kind, length) = (self.get32(at), self.get32(at + 4));
            assert!(kind != 0, "there are bitmaps");
            if kind == 0x2385_2875 {
                return at + 8;
            }
            at += 8 + u64::from(length).next_multiple_of(8);
        }
    }

    /// Where the directory of bitmaps is.
    pub fn directory(&self) -> u64 {
        self.get(self.bitmaps() + 16)
    }

    /// Where the entry of a bitmap is in the directory: in front of the last
    /// place with its name.
    pub fn bitmap(&self, name: &str) -> u64 {
        let is_name = |found: &[u8]| found == name.as_bytes();
        let at = self.0.windows(name.len()).rposition(is_name);
        // Nothing is between the fixed part of an entry and the name.
        at.expect("the directory") as u64 - 24
    }

    /// The lowest byte of the features that one has to know: 1 for counts
    /// that may be wrong, 2 for an image that is damaged.
    pub fn features(&self) -> u8 {
        self.0[79]
    }

    /// Sets bits of [`features`](Stored::features).
    pub fn mark(&mut self, features: u8) {
        self.0[79] |= features;
    }
}

/// Puts bytes somewhere among others, of which there are then enough.
pub fn put(bytes: &mut Vec<u8>, at: u64, data: &[u8]) {
    let end = at as usize + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at as usize..end].copy_from_slice(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clusters of 512 bytes: a header, two tables, a block of counts and
    /// its table.
    fn sample() -> Stored {
        let mut stored = Stored(vec![0; 5 * 512]);
        stored.put32(20, 9);
        stored.put32(36, 2);
        stored.put(40, 512);
        stored.put(48, 2048);
        stored.put(512, 1024 | COPIED);
        stored.put(1024 + 3 * 8, 2560 | COPIED);
        stored.put(2048, 1536);
        stored
    }

    #[test]
    fn tables_are_where_the_header_says() {
        let stored = sample();
        assert_eq!((stored.l1(), stored.l2()), (512, 1024));
        assert_eq!(stored.l2_tables(), [1024, 0]);
        assert_eq!((stored.table(), stored.block()), (2048, 1536));
        assert_eq!((stored.entry(3), stored.host(3)), (1048, 5));
    }

    #[test]
    fn a_leak_is_a_cluster_at_the_end() {
        let mut stored = sample();
        stored.0.push(1);
        stored.leak();
        assert_eq!(stored.clusters(), 7);
        assert_eq!(stored.0[1536 + 6 * 2..][..2], [0, 1]);
    }

    #[test]
    fn what_is_put_behind_the_end_makes_room() {
        let mut stored = Stored(vec![9; 4]);
        stored.put(8, 1);
        assert_eq!(stored.0, [9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
