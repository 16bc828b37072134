//! Growing and shrinking, and allocation in advance.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use block_common::error::errno;
use block_common::{GraphError, IoError, Preallocation, limits};
use rustix::fs::{FallocateFlags, OFlags, SeekFrom, fcntl_getfl, fstat, fsync, ftruncate, seek};
use rustix::io::{Errno, pwrite};

use super::{failed, fallocate, is_unsupported, retry};
use crate::file::probe::Kind;

/// What is written at once, and what its memory is aligned to: enough for
/// direct I/O everywhere. In bytes.
const CHUNK: usize = 64 << 10;
const ALIGNMENT: u64 = 4096;

/// How far a long operation on a worker thread is, and whether it is still
/// wanted. For any thread.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// Bytes written so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Makes the operation fail soon, unless it is over before.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// Why a file has not the length that was asked for.
#[derive(Debug)]
pub struct ResizeError {
    /// What was being done.
    what: String,
    /// Why that failed; `None` if it is never done.
    cause: Option<IoError>,
    errno: i32,
}

impl ResizeError {
    fn of(what: &str, cause: impl Into<IoError>) -> Self {
        let cause = cause.into();
        ResizeError {
            what: what.to_owned(),
            errno: cause.errno(),
            cause: Some(cause),
        }
    }

    fn os(what: &'static str) -> impl FnOnce(Errno) -> ResizeError {
        move |error| ResizeError::of(what, std::io::Error::from(error))
    }

    fn never(what: impl Into<String>, errno: i32) -> Self {
        ResizeError {
            what: what.into(),
            cause: None,
            errno,
        }
    }

    /// The errno a C caller would see, as a positive number.
    pub fn errno(&self) -> i32 {
        self.errno
    }
}

impl fmt::Display for ResizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "{}: {cause}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for ResizeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}

impl From<ResizeError> for GraphError {
    fn from(error: ResizeError) -> Self {
        GraphError::Refused {
            message: error.to_string(),
            errno: error.errno,
        }
    }
}

/// Gives a file a new length (`raw_co_truncate`). Nothing else may write
/// beyond the old or the new end meanwhile.
///
/// A device has the length it has: a new one is accepted if the device is at
/// least that long and, with `exact`, no longer.
///
/// # Errors
/// [`ResizeError`] in QEMU's words. The file has its old length again then,
/// as far as the kernel allows.
pub fn set_length(
    fd: impl AsFd,
    kind: Kind,
    new: u64,
    exact: bool,
    preallocation: Preallocation,
    progress: &Progress,
) -> Result<(), ResizeError> {
    let fd = fd.as_fd();
    limits::check_request(0, new)
        .map_err(|error| ResizeError::of("Could not resize file", error))?;
    match kind {
        Kind::Regular => set_file_length(fd, new, preallocation, progress),
        _ if preallocation != Preallocation::Off => Err(ResizeError::never(
            format!("Preallocation mode '{preallocation}' unsupported for this non-regular file"),
            errno::ENOTSUP,
        )),
        Kind::BlockDevice | Kind::CharacterDevice => check_device_length(fd, new, exact),
        Kind::Other => Err(ResizeError::never(
            "Resizing this file is not supported",
            errno::ENOTSUP,
        )),
    }
}

fn check_device_length(fd: BorrowedFd<'_>, new: u64, exact: bool) -> Result<(), ResizeError> {
    let old = retry(|| seek(fd, SeekFrom::End(0)));
    let old = old.map_err(ResizeError::os("Could not determine the length"))?;
    if new > old {
        return Err(ResizeError::never(
            "Cannot grow device files",
            errno::EINVAL,
        ));
    }
    if exact && new != old {
        return Err(ResizeError::never(
            "Cannot resize device files",
            errno::ENOTSUP,
        ));
    }
    Ok(())
}

fn set_file_length(
    fd: BorrowedFd<'_>,
    new: u64,
    preallocation: Preallocation,
    progress: &Progress,
) -> Result<(), ResizeError> {
    let stat = fstat(fd).map_err(ResizeError::os("Could not stat file"))?;
    let old = u64::try_from(stat.st_size).unwrap_or(0);
    if preallocation != Preallocation::Off && new < old {
        return Err(ResizeError::never(
            "Cannot use preallocation for shrinking files",
            errno::ENOTSUP,
        ));
    }
    let outcome = match preallocation {
        Preallocation::Metadata => Err(ResizeError::never(
            format!("Unsupported preallocation mode: {preallocation}"),
            errno::ENOTSUP,
        )),
        Preallocation::Off => truncate(fd, new),
        Preallocation::Falloc => reserve(fd, old, new, progress),
        Preallocation::Full => {
            truncate(fd, new).and_then(|()| write_zeroes(fd, old, new, progress))
        }
    };
    match outcome {
        Ok(()) if old == 0 && preallocation != Preallocation::Full => allocate_first(fd, new),
        Ok(()) => {}
        // The first error says more than one about this.
        Err(_) => drop(retry(|| ftruncate(fd, old))),
    }
    outcome
}

fn truncate(fd: BorrowedFd<'_>, new: u64) -> Result<(), ResizeError> {
    retry(|| ftruncate(fd, new)).map_err(ResizeError::os("Could not resize file"))
}

fn reserve(fd: BorrowedFd<'_>, old: u64, new: u64, progress: &Progress) -> Result<(), ResizeError> {
    if new == old {
        return Ok(());
    }
    match fallocate(fd, FallocateFlags::empty(), old, new - old) {
        Ok(()) => Ok(()),
        Err(error) if is_unsupported(error) => {
            truncate(fd, new)?;
            write_zeroes(fd, old, new, progress)
        }
        Err(error) => Err(ResizeError::os("Could not preallocate new data")(error)),
    }
}

/// Writes all that is between the old end and the new one, and waits until it
/// is on the disk.
///
/// A descriptor for direct I/O writes whole blocks only. What is left over at
/// either end is reserved, if possible: a block that is there already, and
/// one that reads as zeroes anyway.
fn write_zeroes(
    fd: BorrowedFd<'_>,
    old: u64,
    new: u64,
    progress: &Progress,
) -> Result<(), ResizeError> {
    const WHAT: &str = "Could not write zeros for preallocation";
    let (mut at, mut end) = (old, new);
    if is_direct(fd) {
        at = old.next_multiple_of(ALIGNMENT).min(new);
        end = (new - new % ALIGNMENT).max(at);
        for (from, to) in [(old, at), (end, new)].into_iter().filter(|(a, b)| a < b) {
            match fallocate(fd, FallocateFlags::empty(), from, to - from) {
                Err(error) if !is_unsupported(error) => return Err(ResizeError::os(WHAT)(error)),
                _ => {}
            }
        }
    }
    let zeroes = Zeroes::new();
    while at < end {
        if progress.is_cancelled() {
            return Err(ResizeError::of(WHAT, IoError::Cancelled));
        }
        let chunk = zeroes.up_to(end - at);
        match retry(|| pwrite(fd, chunk, at)).map_err(ResizeError::os(WHAT))? {
            0 => return Err(ResizeError::of(WHAT, failed(Errno::NOSPC))),
            bytes => {
                at += bytes as u64;
                progress.done.fetch_add(bytes as u64, Ordering::Relaxed);
            }
        }
    }
    retry(|| fsync(fd)).map_err(ResizeError::os("Could not flush file to disk"))
}

/// Puts data where a new file begins. Somebody who opens it for direct I/O
/// may find the alignment out by trying to read there, and in a hole every
/// attempt succeeds. If it does not work, no harm is done.
fn allocate_first(fd: BorrowedFd<'_>, length: u64) {
    let zeroes = Zeroes::new();
    let block = zeroes.up_to(length.min(ALIGNMENT));
    if !block.is_empty() {
        let _ = retry(|| pwrite(fd, block, 0));
    }
}

fn is_direct(fd: BorrowedFd<'_>) -> bool {
    fcntl_getfl(fd).is_ok_and(|flags| flags.contains(OFlags::DIRECT))
}

/// Zeroes at an address fit for direct I/O.
struct Zeroes {
    bytes: Vec<u8>,
    start: usize,
}

impl Zeroes {
    fn new() -> Zeroes {
        let bytes = vec![0; CHUNK + ALIGNMENT as usize];
        let start = bytes.as_ptr().align_offset(ALIGNMENT as usize);
        Zeroes { bytes, start }
    }

    fn up_to(&self, len: u64) -> &[u8] {
        let len = len.min(CHUNK as u64) as usize;
        self.bytes
            .get(self.start..self.start + len)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

    use super::*;

    const MIB: u64 = 1 << 20;
    const ALL: [Preallocation; 3] = [
        Preallocation::Off,
        Preallocation::Falloc,
        Preallocation::Full,
    ];

    fn resize(file: &File, new: u64, preallocation: Preallocation) -> Result<(), ResizeError> {
        let progress = Progress::default();
        set_length(file, Kind::Regular, new, true, preallocation, &progress)
    }

    fn file(place: &str) -> File {
        tempfile::tempfile_in(place).expect("a file")
    }

    fn allocated(file: &File) -> u64 {
        file.sync_all().expect("synced");
        file.metadata().expect("metadata").blocks() * 512
    }

    fn length(file: &File) -> u64 {
        file.metadata().expect("metadata").len()
    }

    #[test]
    fn what_is_preallocated_takes_space_and_what_is_not_does_not() {
        for place in ["/tmp", "/dev/shm"] {
            for mode in ALL {
                let mut file = file(place);
                file.write_all(&[7; 5000]).expect("written");
                resize(&file, 4 * MIB + 13, mode).expect("grown");
                assert_eq!(length(&file), 4 * MIB + 13);
                let takes_space = allocated(&file) >= 4 * MIB;
                assert_eq!(takes_space, mode != Preallocation::Off, "{place} {mode}");
                let mut bytes = vec![1; 10_000];
                file.read_exact_at(&mut bytes, 0).expect("read");
                assert_eq!(bytes[..5000], [7; 5000]);
                assert_eq!(bytes[5000..], [0; 5000]);
            }
        }
    }

    #[test]
    fn a_new_file_begins_with_data() {
        for mode in ALL {
            for length in [1, 511, 4096, MIB] {
                let file = file("/tmp");
                resize(&file, length, mode).expect("grown");
                assert_eq!(self::length(&file), length, "{mode}");
                assert!(allocated(&file) > 0, "{mode} {length}");
            }
        }
    }

    #[test]
    fn shrinking_cuts_off_and_preallocates_nothing() {
        let file = file("/tmp");
        file.set_len(MIB).expect("grown");
        for mode in [Preallocation::Falloc, Preallocation::Full] {
            let error = resize(&file, 512, mode).expect_err("shrinking");
            let text = "Cannot use preallocation for shrinking files";
            assert_eq!(error.to_string(), text);
            assert_eq!(error.errno(), errno::ENOTSUP);
            assert_eq!(length(&file), MIB);
            resize(&file, MIB, mode).expect("as long as before");
        }
        resize(&file, 512, Preallocation::Off).expect("cut");
        assert_eq!(length(&file), 512);
    }

    #[test]
    fn what_is_too_long_for_the_file_system_leaves_the_old_length() {
        // More than the file system of any test machine has.
        let huge = limits::MAX_LENGTH;
        let file = file("/tmp");
        file.set_len(1000).expect("grown");
        for (mode, what) in [
            (Preallocation::Off, "Could not resize file"),
            (Preallocation::Full, "Could not resize file"),
            (Preallocation::Falloc, "Could not preallocate new data"),
        ] {
            let Err(error) = resize(&file, huge, mode) else {
                println!("SKIPPED: the file system takes files of any length");
                return;
            };
            assert!(
                error.to_string().starts_with(&format!("{what}: ")),
                "{error}"
            );
            assert_eq!(length(&file), 1000);
        }
        let error = resize(&file, huge + 1, Preallocation::Off).expect_err("no node is so long");
        assert!(error.to_string().starts_with("Could not resize file: "));
        assert_eq!(length(&file), 1000);
    }

    #[test]
    fn a_full_disk_is_named_and_the_old_length_restored() {
        let file = file("/dev/shm");
        file.set_len(1000).expect("grown");
        let free = rustix::fs::fstatfs(&file).expect("a file system");
        let more = free.f_blocks * free.f_bsize as u64 * 2;
        if more == 0 {
            println!("SKIPPED: /dev/shm has no limit");
            return;
        }
        let error = resize(&file, more, Preallocation::Falloc).expect_err("no space");
        let text = "Could not preallocate new data: No space left on device";
        assert_eq!(error.to_string(), text);
        assert_eq!(error.errno(), errno::ENOSPC);
        assert_eq!(length(&file), 1000);
        assert_eq!(GraphError::from(error).to_string(), text);
    }

    #[test]
    fn a_cancelled_preallocation_leaves_the_old_length() {
        let file = file("/dev/shm");
        file.set_len(1000).expect("grown");
        let progress = Progress::default();
        progress.cancel();
        let outcome = set_length(
            &file,
            Kind::Regular,
            64 * MIB,
            true,
            Preallocation::Full,
            &progress,
        );
        let text = "Could not write zeros for preallocation: Operation canceled";
        assert_eq!(outcome.expect_err("cancelled").to_string(), text);
        assert_eq!(length(&file), 1000);
        assert_eq!(progress.done(), 0);
    }

    #[test]
    fn progress_counts_the_bytes() {
        let progress = Progress::default();
        let mode = Preallocation::Full;
        set_length(file("/dev/shm"), Kind::Regular, MIB, true, mode, &progress).expect("grown");
        assert_eq!(progress.done(), MIB);
    }

    #[test]
    fn direct_io_preallocates_whatever_the_ends() {
        let directory = tempfile::tempdir_in("/tmp").expect("a directory");
        let path = directory.path().join("image");
        for (old, new) in [(0, MIB), (5000, MIB + 77), (5, 6), (4095, 4097), (0, 3)] {
            std::fs::write(&path, vec![7; old]).expect("written");
            let mut options = File::options();
            options.read(true).write(true);
            options.custom_flags(OFlags::DIRECT.bits() as i32);
            let Ok(file) = options.open(&path) else {
                println!("SKIPPED: /tmp has no O_DIRECT");
                return;
            };
            resize(&file, new, Preallocation::Full).expect("grown");
            let mut expected = vec![7; old];
            expected.resize(new as usize, 0);
            assert!(
                std::fs::read(&path).expect("read") == expected,
                "{old} {new}"
            );
            assert!(allocated(&file) >= new, "{old} {new}");
        }
    }

    #[test]
    fn devices_keep_their_length() {
        let null = File::open("/dev/null").expect("opened");
        let progress = Progress::default();
        let set = |kind, new, exact, mode| {
            let outcome = set_length(&null, kind, new, exact, mode, &progress);
            outcome.map_err(|error| error.to_string())
        };
        let device = Kind::CharacterDevice;
        assert_eq!(set(device, 0, true, Preallocation::Off), Ok(()));
        let refused = set(device, 512, false, Preallocation::Off);
        assert_eq!(refused.expect_err("longer"), "Cannot grow device files");
        let refused = set(device, 0, true, Preallocation::Full);
        assert_eq!(
            refused.expect_err("no file"),
            "Preallocation mode 'full' unsupported for this non-regular file"
        );
        let refused = set(Kind::Other, 0, true, Preallocation::Off);
        assert_eq!(
            refused.expect_err("no file"),
            "Resizing this file is not supported"
        );
    }
}
