//! What only devices do: giving back and zeroing ranges, SCSI commands. And
//! what only some file systems do: extents of a size.
//!
//! **Fenced module.** The kernel takes them as `ioctl`s with a pointer: to two
//! 64-bit numbers for the first two, to a header that points to memory for
//! SCSI commands, to seven 32-bit numbers for extents, to numbers that it
//! writes for the rest. It reads and writes there during the call and keeps nothing. What
//! makes the calls sound is that number and type of the argument belong
//! together; both stand here and nowhere else.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Getter, Opcode, Setter, Updater, ioctl, opcode};

use crate::{ScsiCommand, ScsiReply, ScsiTransfer};

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

/// `struct fsxattr` of `linux/fs.h`: flags, the size of extents, and what is
/// not of interest here.
type FileAttributes = [u32; 7];

/// `FS_IOC_FSGETXATTR` of `linux/fs.h`.
const GET_ATTRIBUTES: Opcode = opcode::read::<FileAttributes>(b'X', 31);

/// `FS_IOC_FSSETXATTR` of `linux/fs.h`.
const SET_ATTRIBUTES: Opcode = opcode::write::<FileAttributes>(b'X', 32);

/// `FS_XFLAG_EXTSIZE` of `linux/fs.h`.
const HAS_EXTENT_SIZE: u32 = 0x800;

/// Asks the file system to allocate space of `file` in pieces of `bytes`
/// (`extsize` of XFS). To be done before anything is allocated.
///
/// # Errors
/// The kernel's, for file systems without such a notion: `ENOTTY`,
/// `EOPNOTSUPP`, `EINVAL`.
pub fn set_extent_size(file: impl AsFd, bytes: u32) -> io::Result<()> {
    let file = file.as_fd();
    // SAFETY: the kernel writes `FS_IOC_FSGETXATTR`'s argument as a `struct
    // fsxattr`, five numbers and eight bytes that mean nothing, and only
    // during the call.
    let mut attributes = unsafe { ioctl(file, Getter::<GET_ATTRIBUTES, FileAttributes>::new()) }?;
    attributes[0] |= HAS_EXTENT_SIZE;
    attributes[1] = bytes;
    // SAFETY: as above; the kernel reads it.
    unsafe {
        ioctl(
            file,
            Setter::<SET_ATTRIBUTES, FileAttributes>::new(attributes),
        )
    }?;
    Ok(())
}

/// `SG_GET_VERSION_NUM` of `scsi/sg.h`.
const SG_GET_VERSION_NUM: Opcode = 0x2282;

/// `SG_GET_SCSI_ID` of `scsi/sg.h`.
const SG_GET_SCSI_ID: Opcode = 0x2276;

/// `sg_scsi_id` of `scsi/sg.h`: seven numbers, two of 16 bits between them, and
/// two that are not used.
#[repr(C)]
#[derive(Default)]
struct ScsiId {
    host: c_int,
    channel: c_int,
    target: c_int,
    unit: c_int,
    kind: c_int,
    host_queue: i16,
    device_queue: i16,
    unused: [c_int; 2],
}

/// Whether a character device is a SCSI device without a driver of its own,
/// which takes commands and nothing else (`hdev_is_sg`).
pub fn is_scsi_generic(device: impl AsFd) -> bool {
    let device = device.as_fd();
    let (mut version, mut id): (c_int, _) = (0, ScsiId::default());
    // SAFETY: the kernel writes an `int` for `SG_GET_VERSION_NUM`, during the
    // call.
    let answer = unsafe {
        ioctl(
            device,
            Updater::<SG_GET_VERSION_NUM, c_int>::new(&mut version),
        )
    };
    if answer.is_err() {
        return false;
    }
    // SAFETY: the kernel writes a `struct sg_scsi_id` for `SG_GET_SCSI_ID`, whose
    // layout `ScsiId` has, during the call.
    unsafe { ioctl(device, Updater::<SG_GET_SCSI_ID, ScsiId>::new(&mut id)) }.is_ok()
}

/// `SG_IO` of `scsi/sg.h`.
const SG_IO: Opcode = 0x2285;

/// `sg_io_hdr` of `scsi/sg.h`.
#[repr(C)]
struct ScsiHeader {
    interface: c_int,
    direction: c_int,
    command_len: u8,
    most_sense: u8,
    vectors: u16,
    data_len: u32,
    data: *mut c_void,
    command: *const u8,
    sense: *mut u8,
    timeout_ms: u32,
    flags: u32,
    pack_id: c_int,
    user: *mut c_void,
    status: u8,
    masked_status: u8,
    message_status: u8,
    sense_len: u8,
    host_status: u16,
    driver_status: u16,
    /// What was not transferred of the data.
    residual: c_int,
    duration: u32,
    info: u32,
}

/// The most sense data that a device can have.
const MOST_SENSE: usize = 252;

/// The most data of one command, in bytes: more than devices take at once.
const MOST_DATA: usize = 16 << 20;

/// Sends a command to a device and waits for the answer (`SG_IO`). Blocks the
/// thread.
///
/// # Errors
/// The kernel's: `ENOTTY` for what takes no commands, `EPERM` for a command
/// that only root may send; `EINVAL` for a command or a transfer of a length
/// that cannot be.
pub fn scsi(device: impl AsFd, command: ScsiCommand) -> io::Result<ScsiReply> {
    let invalid = || io::Error::from(rustix::io::Errno::INVAL);
    let ScsiCommand {
        command,
        transfer,
        timeout,
    } = command;
    let (direction, mut data) = match transfer {
        ScsiTransfer::Nothing => (-1, Vec::new()),
        ScsiTransfer::ToDevice(data) => (-2, data),
        ScsiTransfer::FromDevice(most) if most <= MOST_DATA => (-3, vec![0; most]),
        ScsiTransfer::FromDevice(_) => return Err(invalid()),
    };
    if data.len() > MOST_DATA || command.is_empty() {
        return Err(invalid());
    }
    let mut sense = [0; MOST_SENSE];
    let mut header = ScsiHeader {
        interface: c_int::from(b'S'),
        direction,
        command_len: u8::try_from(command.len()).map_err(|_| invalid())?,
        most_sense: MOST_SENSE as u8,
        vectors: 0,
        data_len: u32::try_from(data.len()).map_err(|_| invalid())?,
        data: data.as_mut_ptr().cast(),
        command: command.as_ptr(),
        sense: sense.as_mut_ptr(),
        timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
        flags: 0,
        pack_id: 0,
        user: std::ptr::null_mut(),
        status: 0,
        masked_status: 0,
        message_status: 0,
        sense_len: 0,
        host_status: 0,
        driver_status: 0,
        residual: 0,
        duration: 0,
        info: 0,
    };
    // SAFETY: the kernel takes `SG_IO`'s argument as `struct sg_io_hdr`, whose
    // layout `ScsiHeader` has. It points to `command_len` bytes that are read,
    // `data_len` bytes that are read or written as the direction says, and
    // `most_sense` bytes that are written: all of them owned by this function
    // and borrowed by nobody else until the call is over, which is when the
    // kernel has let go of them.
    unsafe { ioctl(device, Updater::<SG_IO, ScsiHeader>::new(&mut header)) }?;
    let missing = usize::try_from(header.residual).unwrap_or(0);
    data.truncate(data.len().saturating_sub(missing));
    if direction != -3 {
        data.clear();
    }
    Ok(ScsiReply {
        status: header.status,
        host_status: header.host_status,
        driver_status: header.driver_status,
        sense: sense[..MOST_SENSE.min(usize::from(header.sense_len))].to_vec(),
        data,
    })
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

    static_assertions::const_assert_eq!(size_of::<ScsiId>(), 32);

    #[test]
    fn what_has_no_such_driver_is_no_generic_scsi_device() {
        let file = tempfile::tempfile().expect("a file");
        assert!(!is_scsi_generic(&file));
        for device in ["/dev/null", "/dev/zero"] {
            let device = std::fs::File::open(device).expect("a device");
            assert!(!is_scsi_generic(&device));
        }
    }

    // What the kernel has, on machines whose addresses have 64 bits.
    #[cfg(target_pointer_width = "64")]
    static_assertions::const_assert_eq!(size_of::<ScsiHeader>(), 88);

    #[test]
    fn what_takes_no_commands_refuses_them() {
        let file = tempfile::tempfile().expect("a file");
        let inquiry = |transfer| ScsiCommand {
            command: vec![0x12, 0, 0, 0, 96, 0],
            transfer,
            timeout: std::time::Duration::from_secs(1),
        };
        for transfer in [
            ScsiTransfer::Nothing,
            ScsiTransfer::ToDevice(vec![1; 512]),
            ScsiTransfer::FromDevice(96),
        ] {
            let error = scsi(&file, inquiry(transfer)).expect_err("a regular file");
            assert_eq!(Errno::from_io_error(&error), Some(Errno::NOTTY));
        }
        let too_long = inquiry(ScsiTransfer::FromDevice(usize::MAX));
        let error = scsi(&file, too_long).expect_err("too long");
        assert_eq!(Errno::from_io_error(&error), Some(Errno::INVAL));
        let mut no_command = inquiry(ScsiTransfer::Nothing);
        no_command.command.clear();
        let error = scsi(&file, no_command).expect_err("no command");
        assert_eq!(Errno::from_io_error(&error), Some(Errno::INVAL));
    }
}
