//! What of a file is data, and what a hole.

use std::os::fd::{AsFd, BorrowedFd};

use block_common::limits;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::retry;

/// What a range of a file begins with, and for how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Bytes that have to be read.
    Data(u64),
    /// Zeroes that take no space.
    Hole(u64),
    /// The file has ended before.
    Beyond,
}

/// What the `len` bytes from `offset` on begin with (`SEEK_DATA`,
/// `SEEK_HOLE`). The extent is not empty, unless `len` is 0, and no longer
/// than asked for; it may go on behind.
///
/// Others may change the file meanwhile. What was a hole when the call began
/// may be called one. Where nothing can be found out there is data, which is
/// true for every byte that can be read.
///
/// Moves the descriptor's own position.
pub fn allocation(fd: impl AsFd, offset: u64, len: u64) -> Extent {
    let fd = fd.as_fd();
    if offset > limits::MAX_LENGTH {
        return Extent::Beyond;
    }
    match retry(|| seek(fd, SeekFrom::Data(offset))) {
        Ok(data) if data > offset => Extent::Hole(len.min(data - offset)),
        Ok(data) if data == offset => data_up_to_hole(fd, offset, len),
        // In the hole at the end, or behind it.
        Err(Errno::NXIO) => clip(fd, offset, len, Extent::Hole),
        // A file system without holes, or a confused one.
        Ok(_) | Err(_) => clip(fd, offset, len, Extent::Data),
    }
}

fn data_up_to_hole(fd: BorrowedFd<'_>, offset: u64, len: u64) -> Extent {
    match retry(|| seek(fd, SeekFrom::Hole(offset))) {
        Ok(hole) if hole > offset => Extent::Data(len.min(hole - offset)),
        // Punched, or cut off, since the other call; or no answer at all.
        Ok(_) | Err(_) => clip(fd, offset, len, Extent::Data),
    }
}

/// An extent up to the end of the file, as far as that can be found out.
fn clip(fd: BorrowedFd<'_>, offset: u64, len: u64, extent: fn(u64) -> Extent) -> Extent {
    match retry(|| seek(fd, SeekFrom::End(0))) {
        Ok(end) if offset >= end => Extent::Beyond,
        Ok(end) => extent(len.min(end - offset)),
        Err(_) => Extent::Data(len),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const MIB: u64 = 1 << 20;

    /// 4 MiB: data in the second and the last one, if holes are supported.
    fn sparse(place: &str) -> File {
        let file = tempfile::tempfile_in(place).expect("a file");
        file.set_len(4 * MIB).expect("grown");
        let data = vec![1; MIB as usize];
        file.write_all_at(&data, MIB).expect("written");
        file.write_all_at(&data, 3 * MIB).expect("written");
        file
    }

    #[test]
    fn data_and_holes_are_told_apart_and_clipped() {
        for place in ["/tmp", "/dev/shm"] {
            let file = sparse(place);
            for (offset, len, expected) in [
                (0, 4 * MIB, Extent::Hole(MIB)),
                (0, 512, Extent::Hole(512)),
                (MIB - 1, 2, Extent::Hole(1)),
                (MIB, 3 * MIB, Extent::Data(MIB)),
                (MIB + 5, 10, Extent::Data(10)),
                (2 * MIB, 4 * MIB, Extent::Hole(MIB)),
                (3 * MIB, u64::MAX, Extent::Data(MIB)),
                (4 * MIB - 1, MIB, Extent::Data(1)),
                (4 * MIB, 1, Extent::Beyond),
                (1 << 50, 1, Extent::Beyond),
                (u64::MAX, u64::MAX, Extent::Beyond),
            ] {
                let found = allocation(&file, offset, len);
                assert_eq!(found, expected, "{place} {offset} {len}");
            }
            file.set_len(6 * MIB).expect("grown");
            let found = allocation(&file, 5 * MIB, 4 * MIB);
            assert_eq!(found, Extent::Hole(MIB), "{place}: the hole at the end");
            file.set_len(0).expect("cut");
            assert_eq!(allocation(&file, 0, 1), Extent::Beyond);
        }
    }

    #[test]
    fn what_cannot_be_sought_is_data() {
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        assert_eq!(allocation(&reader, 0, 4096), Extent::Data(4096));
    }

    #[test]
    fn the_answer_is_never_empty_nor_too_long_while_the_file_is_being_cut() {
        let file = sparse("/dev/shm");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    file.set_len(MIB / 2).expect("cut");
                    file.set_len(4 * MIB).expect("grown");
                    file.write_all_at(&[1; 8192], MIB).expect("written");
                }
            });
            for _ in 0..2000 {
                for offset in [0, MIB, MIB + 4096, 2 * MIB] {
                    match allocation(&file, offset, 4096) {
                        Extent::Data(len) | Extent::Hole(len) => assert!((1..=4096).contains(&len)),
                        Extent::Beyond => assert!(offset > 0),
                    }
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
