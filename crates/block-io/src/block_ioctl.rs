//! Giving back and zeroing ranges of a block device.
//!
//! **Fenced module.** The kernel takes both as `ioctl`s with a pointer to two
//! 64-bit numbers, which it reads and does not keep. What makes the calls
//! sound is that number and type of the argument belong together; both stand
//! here and nowhere else.

use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

/// `BLKDISCARD` of `linux/fs.h`.
const DISCARD: Opcode = opcode::none(0x12, 119);

/// `BLKZEROOUT` of `linux/fs.h`.
const ZERO_OUT: Opcode = opcode::none(0x12, 127);

/// Tells a device that `len` bytes from `offset` on are not needed
/// (`BLKDISCARD`). What they read as afterwards is up to the device. Blocks
/// the thread.
///
/// # Errors
/// The kernel's: `ENOTTY` for what is no block device, `EOPNOTSUPP` for one
/// that cannot, `EINVAL` for a range that its blocks do not divide.
pub fn discard(device: impl AsFd, offset: u64, len: u64) -> io::Result<()> {
    let mut range = [offset, len];
    // SAFETY: the kernel reads `BLKDISCARD`'s argument as `uint64_t[2]`, and
    // only during the call. It changes no memory of this process: a block
    // device is not where a borrowed value lives.
    unsafe { ioctl(device, Updater::<DISCARD, [u64; 2]>::new(&mut range)) }?;
    Ok(())
}

/// Makes `len` bytes of a device from `offset` on read as zeroes
/// (`BLKZEROOUT`). Where the device has no command for it the kernel writes
/// zeroes, which takes its time. Blocks the thread.
///
/// # Errors
/// The kernel's: `ENOTTY` for what is no block device, `EINVAL` for a range
/// that its blocks do not divide.
pub fn zero_out(device: impl AsFd, offset: u64, len: u64) -> io::Result<()> {
    let mut range = [offset, len];
    // SAFETY: as for `BLKDISCARD`; the argument is the same.
    unsafe { ioctl(device, Updater::<ZERO_OUT, [u64; 2]>::new(&mut range)) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    /// The numbers are the kernel's: a wrong one would be `ENOTTY` for a
    /// device too, which the tests of the `file` driver have.
    #[test]
    fn what_is_no_device_refuses_and_keeps_its_bytes() {
        let mut file = tempfile::tempfile().expect("a file");
        io::Write::write_all(&mut file, &[1; 4096]).expect("written");
        for call in [discard, zero_out] {
            let error = call(&file, 0, 4096).expect_err("a regular file");
            assert_eq!(Errno::from_io_error(&error), Some(Errno::NOTTY));
        }
        let mut bytes = [0; 4096];
        rustix::io::pread(&file, &mut bytes, 0).expect("read");
        assert_eq!(bytes, [1; 4096]);
    }
}
