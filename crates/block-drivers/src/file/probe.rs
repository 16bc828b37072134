//! What a file is, and what requests for it must look like.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use block_common::GraphError;
use block_common::error::errno;
use block_io::block_ioctl;
use rustix::fs::{
    AtFlags, FileType, Stat, StatxFlags, fstat, fstatfs, ioctl_blkpbszget, ioctl_blksszget, major,
    minor, statx,
};
use rustix::io::{Errno, pread};

/// The alignments that are tried where the kernel names none, in bytes.
const CANDIDATES: [u32; 5] = [1, 512, 1024, 2048, 4096];

/// An alignment that suffices wherever direct I/O works, in bytes.
const SAFE: u32 = 4096;

/// ext2, ext3 and ext4 (`linux/magic.h`).
const EXT: u64 = 0xef53;

/// Mounted `sync` (`ST_SYNCHRONOUS`).
const SYNCHRONOUS: u64 = 0x10;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    Regular,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharacterDevice,
    /// A directory, a pipe, a socket.
    Other,
}

impl From<FileType> for Kind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Kind::Regular,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::CharacterDevice => Kind::CharacterDevice,
            _ => Kind::Other,
        }
    }
}

impl Kind {
    /// Of an open file.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of(fd: impl AsFd) -> io::Result<Kind> {
        Ok(FileType::from_raw_mode(fstat(fd)?.st_mode).into())
    }
}

/// Where a file's bytes are, as far as it makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// In memory: no request ever waits for a disk.
    Memory,
    /// On a server: anything may take long, and fail for reasons of its own.
    Network,
    /// On a disk of this host.
    Disk,
}

/// What a file is and what it asks of requests. Sizes are in bytes.
///
/// Whether it can have holes, and have ranges zeroed, only trying tells: see
/// [`space`](super::space).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub medium: Medium,
    /// Short writes hardly ever wait for the disk, although the file system
    /// cannot promise it: it is ext2, ext3 or ext4, and not mounted `sync`.
    pub quick_writes: bool,
    /// Divides offset and length of every request; 1 without `cache.direct`.
    pub request_alignment: u32,
    /// Divides the address of the memory of every request; 1 without
    /// `cache.direct`.
    pub memory_alignment: u32,
    /// What a device addresses (`BLKSSZGET`).
    pub logical_block: Option<u32>,
    /// What a device writes at once (`BLKPBSZGET`). Smaller writes are slow.
    pub physical_block: Option<u32>,
    /// The most that a device transfers at once. The kernel splits requests,
    /// so it matters to those who speak to the device themselves.
    pub max_transfer: Option<u64>,
    /// The most pieces of memory in such a transfer.
    pub max_segments: Option<u32>,
    /// Discards have an effect on multiples of this; `None` where they have
    /// none.
    pub discard_granularity: Option<u64>,
    /// A SCSI device that takes commands and no other requests.
    pub scsi_generic: bool,
}

impl Geometry {
    /// Looks at an open file. With `direct` it was opened with `O_DIRECT`,
    /// and may be read from here to find out the alignment, which waits for
    /// the disk.
    ///
    /// # Errors
    /// [`GraphError::RefusedWithHint`] when direct reads fail whatever the
    /// alignment; [`GraphError::Io`] when the kernel does not know the file.
    pub fn probe(fd: impl AsFd, direct: bool) -> Result<Geometry, GraphError> {
        let fd = fd.as_fd();
        let stat = fstat(fd).map_err(io_error)?;
        let kind = FileType::from_raw_mode(stat.st_mode).into();
        let is_device = kind == Kind::BlockDevice;
        let block_size = |ask: fn(BorrowedFd<'_>) -> rustix::io::Result<u32>| {
            let size = is_device.then(|| ask(fd).ok()).flatten();
            size.filter(|size| size.is_power_of_two())
        };
        let logical_block = block_size(|fd| ioctl_blksszget(fd));
        let mut geometry = Geometry {
            kind,
            medium: Medium::Disk,
            quick_writes: false,
            request_alignment: 1,
            memory_alignment: 1,
            logical_block,
            physical_block: block_size(|fd| ioctl_blkpbszget(fd)),
            max_transfer: None,
            max_segments: None,
            discard_granularity: None,
            scsi_generic: kind == Kind::CharacterDevice && block_ioctl::is_scsi_generic(fd),
        };
        match kind {
            Kind::Regular => geometry.look_at_file_system(fd)?,
            Kind::BlockDevice => geometry.look_at_queue(&stat),
            Kind::CharacterDevice | Kind::Other => {}
        }
        if direct {
            (geometry.request_alignment, geometry.memory_alignment) =
                direct_alignments(fd, logical_block)?;
        }
        Ok(geometry)
    }

    /// Blocks of the file system are what is allocated and given back.
    fn look_at_file_system(&mut self, fd: BorrowedFd<'_>) -> Result<(), GraphError> {
        let statfs = fstatfs(fd).map_err(io_error)?;
        self.medium = medium(statfs.f_type as u64);
        let synchronous = statfs.f_flags as u64 & SYNCHRONOUS != 0;
        self.quick_writes = statfs.f_type as u64 & 0xffff_ffff == EXT && !synchronous;
        self.discard_granularity = u64::try_from(statfs.f_bsize).ok().filter(|&size| size > 0);
        Ok(())
    }

    fn look_at_queue(&mut self, stat: &Stat) {
        let queue = |name| queue_limit(stat.st_rdev, name).filter(|&limit| limit > 0);
        self.max_transfer = queue("max_sectors_kb").and_then(|kib| kib.checked_mul(1024));
        self.max_segments = queue("max_segments").and_then(|limit| limit.try_into().ok());
        self.discard_granularity = queue("discard_granularity");
    }
}

fn io_error(error: Errno) -> GraphError {
    GraphError::Io(io::Error::from(error).into())
}

/// By the numbers of `linux/magic.h`.
fn medium(magic: u64) -> Medium {
    // Where the field is 32 bits wide, the upper half is sign.
    match magic & 0xffff_ffff {
        // tmpfs, ramfs, hugetlbfs
        0x0102_1994 | 0x8584_58f6 | 0x9584_58f6 => Medium::Memory,
        // NFS, SMB 1, SMB 2, Ceph, 9p, AFS
        0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x00c3_6400 | 0x0102_1997 | 0x6b41_4653 => {
            Medium::Network
        }
        _ => Medium::Disk,
    }
}

/// One figure of a device's queue. A partition uses that of the disk.
fn queue_limit(device: u64, name: &str) -> Option<u64> {
    let base = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let read = |path: String| fs::read_to_string(path).ok();
    let text =
        read(format!("{base}/queue/{name}")).or_else(|| read(format!("{base}/../queue/{name}")))?;
    text.trim().parse().ok()
}

/// What divides offsets and lengths, and what divides addresses.
fn direct_alignments(
    fd: BorrowedFd<'_>,
    logical_block: Option<u32>,
) -> Result<(u32, u32), GraphError> {
    if let Some(known) = told_alignments(fd) {
        return Ok(known);
    }
    let none = || GraphError::RefusedWithHint {
        message: "Could not find working O_DIRECT alignment".to_owned(),
        hint: "Try cache.direct=off".to_owned(),
        errno: errno::EINVAL,
    };
    let mut memory = AlignedMemory::new();
    let mut works = |offset: u32, len: u32| is_readable(fd, memory.slice(offset, len));
    let request = match logical_block {
        Some(size) => size,
        None => smallest(|candidate| works(0, candidate)).ok_or_else(none)?,
    };
    // A block at an address that this divides, and nothing greater does.
    let len = request.max(SAFE);
    let memory = smallest(|candidate| works(candidate, len)).ok_or_else(none)?;
    Ok((request, memory))
}

/// What the kernel says (`STATX_DIOALIGN`, since Linux 6.1), for those file
/// systems that do.
fn told_alignments(fd: BorrowedFd<'_>) -> Option<(u32, u32)> {
    let statx = statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    let told = statx.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
    let alignments = (statx.stx_dio_offset_align, statx.stx_dio_mem_align);
    let usable = alignments.0.is_power_of_two() && alignments.1.is_power_of_two();
    (told && usable).then_some(alignments)
}

/// The smallest candidate that works. If that is one byte, then because there
/// is a hole that is not looked for on the disk, or because the file system
/// copies: a safe value does no harm in either case.
fn smallest(mut works: impl FnMut(u32) -> bool) -> Option<u32> {
    let found = CANDIDATES.into_iter().find(|&candidate| works(candidate));
    found.map(|candidate| if candidate == 1 { SAFE } else { candidate })
}

/// Only a complaint about the alignment counts. What else is wrong with the
/// file, the first request that meets it will tell.
fn is_readable(fd: BorrowedFd<'_>, into: &mut [u8]) -> bool {
    loop {
        match pread(fd, &mut *into, 0) {
            Err(Errno::INTR) => {}
            outcome => return outcome != Err(Errno::INVAL),
        }
    }
}

/// Memory of which addresses of a known alignment can be had.
struct AlignedMemory {
    bytes: Vec<u8>,
    /// Where an address is that a greater number than any candidate divides.
    start: usize,
}

impl AlignedMemory {
    const ALIGNMENT: usize = 2 * SAFE as usize;
    /// For a device block of 64 KiB behind the greatest candidate.
    const LEN: usize = SAFE as usize + (64 << 10);

    fn new() -> AlignedMemory {
        let bytes = vec![0; Self::LEN + Self::ALIGNMENT];
        let start = bytes.as_ptr().align_offset(Self::ALIGNMENT);
        AlignedMemory { bytes, start }
    }

    /// `len` bytes, or as many as there are, at an address that `offset`
    /// divides and, if it is less than the alignment, twice `offset` does not.
    fn slice(&mut self, offset: u32, len: u32) -> &mut [u8] {
        let start = self.start.saturating_add(offset as usize);
        let end = start.saturating_add(len as usize).min(self.bytes.len());
        self.bytes.get_mut(start..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::OFlags;

    use super::*;

    fn direct(directory: &str) -> Option<fs::File> {
        let file = tempfile::NamedTempFile::new_in(directory).expect("a file");
        fs::write(file.path(), vec![1; 64 << 10]).expect("written");
        let mut options = fs::File::options();
        options
            .read(true)
            .custom_flags(OFlags::DIRECT.bits() as i32);
        let opened = options.open(file.path()).ok();
        if opened.is_none() {
            println!("SKIPPED: {directory} has no O_DIRECT");
        }
        opened
    }

    #[test]
    fn buffered_requests_may_be_anywhere() {
        let file = tempfile::tempfile().expect("a file");
        let geometry = Geometry::probe(&file, false).expect("probed");
        assert_eq!(geometry.kind, Kind::Regular);
        assert_eq!(geometry.request_alignment, 1);
        assert_eq!(geometry.memory_alignment, 1);
        assert_eq!(geometry.logical_block, None);
        let granularity = geometry.discard_granularity.expect("a file system block");
        assert!(granularity.is_power_of_two());
    }

    #[test]
    fn files_in_memory_are_told_from_others() {
        let file = tempfile::tempfile_in("/dev/shm").expect("a file");
        let geometry = Geometry::probe(&file, false).expect("probed");
        assert_eq!(geometry.medium, Medium::Memory);
        assert_eq!(medium(0xef53), Medium::Disk);
        assert_eq!(medium(0x6969), Medium::Network);
        // CIFS in a signed 32-bit field.
        assert_eq!(medium(0xffff_ffff_ff53_4d42), Medium::Network);
    }

    #[test]
    fn direct_requests_of_the_alignment_found_are_accepted() {
        for directory in ["/tmp", "/dev/shm"] {
            let Some(file) = direct(directory) else {
                continue;
            };
            let geometry = Geometry::probe(&file, true).expect("probed");
            let Geometry {
                request_alignment: request,
                memory_alignment: memory,
                ..
            } = geometry;
            assert!(request.is_power_of_two(), "{directory} {geometry:?}");
            let mut bytes = AlignedMemory::new();
            let into = bytes.slice(memory, request);
            let got = pread(&file, &mut *into, request.into()).expect("aligned");
            assert_eq!(got, request as usize);
            assert!(into.iter().all(|&byte| byte == 1));
        }
    }

    #[test]
    fn trying_finds_what_the_kernel_tells() {
        let Some(file) = direct("/tmp") else {
            return;
        };
        let Some((request, memory)) = told_alignments(file.as_fd()) else {
            println!("SKIPPED: the file system names no alignment");
            return;
        };
        let mut bytes = AlignedMemory::new();
        let tried = smallest(|candidate| is_readable(file.as_fd(), bytes.slice(0, candidate)));
        let tried = tried.expect("found");
        assert!(tried >= request && tried.is_multiple_of(request));
        let tried = smallest(|offset| is_readable(file.as_fd(), bytes.slice(offset, SAFE)));
        assert!(tried.expect("found").is_multiple_of(memory));
    }

    #[test]
    fn memory_is_as_misaligned_as_asked() {
        let mut memory = AlignedMemory::new();
        for offset in CANDIDATES {
            let address = memory.slice(offset, 64 << 10).as_ptr().addr();
            assert_eq!(address % (offset as usize), 0);
            assert_ne!(address % (2 * offset as usize), 0);
            assert_eq!(memory.slice(offset, 64 << 10).len(), 64 << 10);
        }
        assert!(memory.slice(u32::MAX, u32::MAX).is_empty());
    }

    #[test]
    fn nothing_that_works_is_an_error_and_everything_is_safe() {
        assert_eq!(smallest(|_| false), None);
        assert_eq!(smallest(|_| true), Some(SAFE));
        assert_eq!(smallest(|candidate| candidate >= 1024), Some(1024));
    }
}
