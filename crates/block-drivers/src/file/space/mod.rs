//! The space of a file: holes, zeroes, length, copies.
//!
//! Everything here is a system call or some, and may block: it is for worker
//! threads ([`run_blocking`](block_io::aio::run_blocking)). Nothing here
//! knows nodes or requests. Where kernel or file system cannot do a thing
//! the answer is [`IoError::NotSupported`], and the caller does it by reading
//! and writing.
//!
//! | module | what |
//! |---|---|
//! | [`allocation`](mod@allocation) | what is data, and what is a hole |
//! | [`copy`] | copies inside the kernel |
//! | [`length`] | growing, shrinking, preallocation |
//! | [`zero`] | giving space back, and making ranges read as zeroes |

pub mod allocation;
pub mod copy;
pub mod length;
pub mod zero;

pub use allocation::{Extent, allocation};
pub use copy::copy_range;
pub use length::{Progress, ResizeError, set_length};
pub use zero::{ZeroMode, punch_hole, zero_range};

use std::io;

use block_common::IoError;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use std::os::fd::BorrowedFd;

/// Does a system call until no signal interrupts it.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            outcome => return outcome,
        }
    }
}

/// `fallocate`, for ranges that were checked.
fn fallocate(fd: BorrowedFd<'_>, mode: FallocateFlags, offset: u64, len: u64) -> Result<(), Errno> {
    retry(|| rustix::fs::fallocate(fd, mode, offset, len))
}

/// Whether the kernel says that it, or the file system, cannot do this at
/// all.
fn is_unsupported(error: Errno) -> bool {
    // Some file systems say the last one for a system call that they lack.
    [Errno::OPNOTSUPP, Errno::NOSYS, Errno::NODEV, Errno::NOTTY].contains(&error)
}

/// The error of a request.
fn failed(error: Errno) -> IoError {
    if is_unsupported(error) {
        return IoError::NotSupported;
    }
    io::Error::from(error).into()
}
