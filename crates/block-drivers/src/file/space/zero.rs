//! Giving space back, and making ranges read as zeroes without writing them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use block_common::{IoError, limits};
use block_io::block_ioctl;
use rustix::fs::{FallocateFlags, fstat};
use rustix::io::Errno;

use super::{failed, fallocate, is_unsupported};
use crate::file::probe::Kind;

/// Holes are punched inside the file; without the second flag there is no
/// punching.
const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);

/// How a range may be zeroed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZeroMode {
    /// The space may be given back (`BDRV_REQ_MAY_UNMAP`).
    pub unmap: bool,
    /// The kernel may take as long as writing takes; otherwise it does so
    /// only where it is fast (the opposite of `BDRV_REQ_NO_FALLBACK`).
    pub slow: bool,
}

/// Gives the space of a range back. A file then reads as zeroes there, and
/// keeps its length; a device reads as it pleases.
///
/// # Errors
/// [`IoError::NotSupported`]; [`IoError::OutOfRange`]; the kernel's.
pub fn punch_hole(fd: impl AsFd, kind: Kind, offset: u64, len: u64) -> Result<(), IoError> {
    limits::check_request(offset, len)?;
    if len == 0 {
        return Ok(());
    }
    if kind == Kind::BlockDevice {
        return device(|| block_ioctl::discard(fd.as_fd(), offset, len));
    }
    fallocate(fd.as_fd(), PUNCH, offset, len).map_err(failed)
}

/// Makes a range read as zeroes. A file grows if the range ends beyond it.
///
/// The ways are tried in turn: what can give space back if it may be given
/// back, what keeps it, and beyond the end of the file plain allocation.
///
/// # Errors
/// [`IoError::NotSupported`] when the zeroes have to be written (some of them
/// may be there already); [`IoError::OutOfRange`]; the kernel's.
pub fn zero_range(
    fd: impl AsFd,
    kind: Kind,
    offset: u64,
    len: u64,
    mode: ZeroMode,
) -> Result<(), IoError> {
    limits::check_request(offset, len)?;
    if len == 0 {
        return Ok(());
    }
    match kind {
        Kind::BlockDevice => zero_device(fd.as_fd(), offset, len, mode),
        Kind::Regular => zero_file(fd.as_fd(), offset, len, mode),
        Kind::CharacterDevice | Kind::Other => Err(IoError::NotSupported),
    }
}

/// To punch a device is to zero it with a command of its own or not at all,
/// so it is fast. The other call writes where the device has no command.
fn zero_device(fd: BorrowedFd<'_>, offset: u64, len: u64, mode: ZeroMode) -> Result<(), IoError> {
    if mode.unmap && attempt(fallocate(fd, PUNCH, offset, len))? {
        return Ok(());
    }
    if !mode.slow {
        return Err(IoError::NotSupported);
    }
    device(|| block_ioctl::zero_out(fd, offset, len))
}

fn zero_file(fd: BorrowedFd<'_>, offset: u64, len: u64, mode: ZeroMode) -> Result<(), IoError> {
    if mode.unmap && attempt(fallocate(fd, PUNCH, offset, len))? {
        return allocate_beyond_end(fd, offset, len);
    }
    if attempt(fallocate(fd, FallocateFlags::ZERO_RANGE, offset, len))? {
        return Ok(());
    }
    // Without that call (as in tmpfs): a hole, filled by allocation.
    if attempt(fallocate(fd, PUNCH, offset, len))? || offset >= length(fd)? {
        return fallocate(fd, FallocateFlags::empty(), offset, len).map_err(failed);
    }
    Err(IoError::NotSupported)
}

/// Makes the file as long as the range demands. Never shorter, whatever
/// others do meanwhile: so this allocates, and sets no length.
fn allocate_beyond_end(fd: BorrowedFd<'_>, offset: u64, len: u64) -> Result<(), IoError> {
    let end = offset + len;
    let from = offset.max(length(fd)?);
    if from >= end {
        return Ok(());
    }
    fallocate(fd, FallocateFlags::empty(), from, end - from).map_err(failed)
}

/// Whether it worked; if not, then the next way may.
fn attempt(outcome: Result<(), Errno>) -> Result<bool, IoError> {
    match outcome {
        Ok(()) => Ok(true),
        // Some file systems refuse ranges that their blocks do not divide,
        // some devices are busy while they are partly mapped elsewhere.
        Err(Errno::INVAL | Errno::BUSY) => Ok(false),
        Err(error) if is_unsupported(error) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

fn device(call: impl Fn() -> io::Result<()>) -> Result<(), IoError> {
    let errno = |error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    // Ranges that the blocks of the device do not divide are written.
    match attempt(super::retry(|| call().map_err(errno)))? {
        true => Ok(()),
        false => Err(IoError::NotSupported),
    }
}

fn length(fd: BorrowedFd<'_>) -> Result<u64, IoError> {
    let stat = fstat(fd).map_err(failed)?;
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    const PLACES: [&str; 2] = ["/tmp", "/dev/shm"];

    const MODES: [ZeroMode; 4] = [
        ZeroMode {
            unmap: false,
            slow: false,
        },
        ZeroMode {
            unmap: false,
            slow: true,
        },
        ZeroMode {
            unmap: true,
            slow: false,
        },
        ZeroMode {
            unmap: true,
            slow: true,
        },
    ];

    fn full(place: &str, len: usize) -> File {
        let mut file = tempfile::tempfile_in(place).expect("a file");
        file.write_all(&vec![7; len]).expect("written");
        file
    }

    fn contents(file: &File) -> Vec<u8> {
        let mut bytes = vec![0xaa; file.metadata().expect("metadata").len() as usize];
        file.read_exact_at(&mut bytes, 0).expect("read");
        bytes
    }

    fn allocated(file: &File) -> u64 {
        file.sync_all().expect("synced");
        file.metadata().expect("metadata").blocks() * 512
    }

    #[test]
    fn a_range_is_zeroed_and_nothing_beside_it() {
        const LEN: usize = 256 << 10;
        for place in PLACES {
            for mode in MODES {
                for range in [0..LEN, 4096..8192, 4097..100_001, 511..512, LEN - 5..LEN] {
                    let file = full(place, LEN);
                    let (offset, len) = (range.start as u64, range.len() as u64);
                    zero_range(&file, Kind::Regular, offset, len, mode).expect("zeroed");
                    let mut expected = vec![7; LEN];
                    expected[range.clone()].fill(0);
                    assert!(contents(&file) == expected, "{place} {mode:?} {range:?}");
                }
            }
        }
    }

    #[test]
    fn the_file_grows_to_hold_the_zeroes() {
        for place in PLACES {
            for mode in MODES {
                for range in [500..70_000, 1000..1001, 50_000..60_000] {
                    let file = full(place, 1000);
                    let (offset, len) = (range.start as u64, range.len() as u64);
                    zero_range(&file, Kind::Regular, offset, len, mode).expect("zeroed");
                    let mut expected = vec![7; 1000];
                    expected.resize(range.end, 0);
                    expected[range.clone()].fill(0);
                    assert!(contents(&file) == expected, "{place} {mode:?} {range:?}");
                }
            }
        }
    }

    #[test]
    fn space_is_given_back_only_when_allowed() {
        const LEN: u64 = 1 << 20;
        for place in PLACES {
            let file = full(place, LEN as usize);
            let mode = ZeroMode {
                unmap: false,
                slow: false,
            };
            zero_range(&file, Kind::Regular, 0, LEN, mode).expect("zeroed");
            assert!(allocated(&file) >= LEN, "{place}");
            let mode = ZeroMode {
                unmap: true,
                ..mode
            };
            zero_range(&file, Kind::Regular, 0, LEN, mode).expect("zeroed");
            assert!(allocated(&file) < LEN, "{place}");
        }
    }

    #[test]
    fn a_hole_has_no_space_reads_as_zeroes_and_leaves_the_length() {
        for place in PLACES {
            let file = full(place, 1 << 20);
            let before = allocated(&file);
            punch_hole(&file, Kind::Regular, 64 << 10, 128 << 10).expect("punched");
            punch_hole(&file, Kind::Regular, 1 << 20, 1 << 20).expect("nothing there");
            punch_hole(&file, Kind::Regular, 0, 0).expect("nothing to do");
            assert!(allocated(&file) <= before - (128 << 10), "{place}");
            let mut expected = vec![7; 1 << 20];
            expected[64 << 10..192 << 10].fill(0);
            assert!(contents(&file) == expected, "{place}");
        }
    }

    #[test]
    fn ranges_that_no_node_has_are_refused_before_the_kernel_sees_them() {
        let file = full("/tmp", 10);
        let max = limits::MAX_LENGTH;
        for (offset, len) in [(u64::MAX, 1), (1, u64::MAX), (max, 1)] {
            let hole = punch_hole(&file, Kind::Regular, offset, len);
            assert!(matches!(hole, Err(IoError::OutOfRange(_))));
            let zeroes = zero_range(&file, Kind::Regular, offset, len, MODES[3]);
            assert!(matches!(zeroes, Err(IoError::OutOfRange(_))));
        }
        assert_eq!(contents(&file), [7; 10]);
    }

    #[test]
    fn what_cannot_be_zeroed_is_left_to_the_caller() {
        let null = File::options().write(true).open("/dev/null");
        let null = null.expect("opened");
        for mode in MODES {
            let refused = zero_range(&null, Kind::CharacterDevice, 0, 512, mode);
            assert!(matches!(refused, Err(IoError::NotSupported)));
        }
        let refused = punch_hole(&null, Kind::CharacterDevice, 0, 512);
        assert!(matches!(refused, Err(IoError::NotSupported)));
        // Not a device: the device's call is unknown to it.
        let file = full("/tmp", 10);
        let refused = punch_hole(&file, Kind::BlockDevice, 0, 10);
        assert!(matches!(refused, Err(IoError::NotSupported)));
        let reader = File::open("/proc/self/exe").expect("opened");
        let error = zero_range(&reader, Kind::Regular, 0, 1, MODES[3]).expect_err("read-only");
        assert!(matches!(error, IoError::Os(_)), "{error}");
    }
}
