//! Copies between files inside the kernel.

use std::os::fd::AsFd;

use block_common::{IoError, limits};
use rustix::fs::copy_file_range;
use rustix::io::Errno;

use super::{failed, is_unsupported, retry};

/// What one system call is asked to copy at most, in bytes: a multiple of any
/// block size, so that a file system which shares blocks can.
const AT_ONCE: u64 = 1 << 30;

/// Copies `len` bytes from one file to another, or inside of one
/// (`copy_file_range`). The file system may share the blocks.
///
/// # Errors
/// [`IoError::NotSupported`] when the files are such that the bytes have to
/// be read and written, also where the source ends before (some of them may
/// be there already); [`IoError::OutOfRange`]; the kernel's.
pub fn copy_range(
    from: impl AsFd,
    from_offset: u64,
    to: impl AsFd,
    to_offset: u64,
    len: u64,
) -> Result<(), IoError> {
    limits::check_request(from_offset, len)?;
    limits::check_request(to_offset, len)?;
    let (from, to) = (from.as_fd(), to.as_fd());
    let mut done = 0;
    while done < len {
        // By the number that is returned, not by the offsets: they are left
        // as they are when a signal comes.
        let mut source = from_offset + done;
        let mut target = to_offset + done;
        let step = (len - done).min(AT_ONCE) as usize;
        let copied =
            retry(|| copy_file_range(from, Some(&mut source), to, Some(&mut target), step));
        match copied {
            Ok(0) => return Err(IoError::NotSupported),
            Ok(bytes) => done += bytes as u64,
            Err(error) if is_unsupported(error) => return Err(IoError::NotSupported),
            // Different file systems; one file with ranges that overlap, or
            // one that is no regular file; a file in use by the kernel.
            Err(Errno::XDEV | Errno::INVAL | Errno::TXTBSY) => return Err(IoError::NotSupported),
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    fn with(place: &str, bytes: &[u8]) -> File {
        let file = tempfile::tempfile_in(place).expect("a file");
        file.write_all_at(bytes, 0).expect("written");
        file
    }

    fn contents(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; file.metadata().expect("metadata").len() as usize];
        file.read_exact_at(&mut bytes, 0).expect("read");
        bytes
    }

    #[test]
    fn bytes_arrive_between_files_and_inside_of_one() {
        for place in ["/tmp", "/dev/shm"] {
            let bytes: Vec<_> = (0..100_000).map(|index| (index % 251) as u8).collect();
            let from = with(place, &bytes);
            let to = with(place, &[9; 10]);
            match copy_range(&from, 1000, &to, 5, 50_000) {
                Err(IoError::NotSupported) => {
                    println!("SKIPPED: {place} copies nothing");
                    continue;
                }
                outcome => outcome.expect("copied"),
            }
            let mut expected = vec![9; 5];
            expected.extend_from_slice(&bytes[1000..51_000]);
            assert!(contents(&to) == expected, "{place}");
            copy_range(&from, 0, &from, 60_000, 40_000).expect("copied");
            assert!(contents(&from)[60_000..] == bytes[..40_000], "{place}");
            copy_range(&from, 0, &to, 0, 0).expect("nothing to do");
        }
    }

    #[test]
    fn what_the_kernel_does_not_copy_is_left_to_the_caller() {
        let from = with("/tmp", &[1; 1000]);
        let cases = [
            copy_range(&from, 0, &from, 500, 501),
            copy_range(&from, 500, with("/tmp", b""), 0, 501),
            copy_range(&from, 2000, with("/tmp", b""), 0, 1),
        ];
        for case in cases {
            assert!(matches!(case, Err(IoError::NotSupported)), "{case:?}");
        }
        match copy_range(&from, 0, with("/dev/shm", b""), 0, 1000) {
            Ok(()) | Err(IoError::NotSupported) => {}
            Err(error) => panic!("{error}"),
        }
        let reader = File::open("/proc/self/exe").expect("opened");
        let error = copy_range(&from, 0, &reader, 0, 1).expect_err("read-only");
        assert_eq!(error.errno(), Errno::BADF.raw_os_error());
        let error = copy_range(&from, u64::MAX, &reader, 0, 1);
        assert!(matches!(error, Err(IoError::OutOfRange(_))));
    }
}
