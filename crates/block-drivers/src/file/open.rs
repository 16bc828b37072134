//! From a path to a descriptor, and the words where that fails.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use block_common::GraphError;
use block_common::error::errno;
use block_io::aio::{AioContext, Engine};
use rustix::fs::{OFlags, fstat};

use super::probe::Kind;

/// Which of QEMU's drivers for files of the host a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Regular files (`file`).
    File,
    /// Block and character devices (`host_device`).
    HostDevice,
}

impl Protocol {
    /// Its name as a driver.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::File => "file",
            Protocol::HostDevice => "host_device",
        }
    }

    /// The one for what is at `path`; `File` if nothing is
    /// (`bdrv_find_protocol` without a prefix).
    pub fn for_path(path: impl AsRef<Path>) -> Protocol {
        let is_device = |metadata: &fs::Metadata| {
            let kind = metadata.file_type();
            kind.is_block_device() || kind.is_char_device()
        };
        match fs::metadata(path) {
            Ok(metadata) if is_device(&metadata) => Protocol::HostDevice,
            _ => Protocol::File,
        }
    }

    /// # Errors
    /// [`GraphError::Refused`] when it is not for files of this kind.
    pub(super) fn check(self, path: &Path, kind: Kind) -> Result<(), GraphError> {
        let wanted = match (self, kind) {
            (Protocol::File, Kind::Regular)
            | (Protocol::HostDevice, Kind::BlockDevice | Kind::CharacterDevice) => return Ok(()),
            (Protocol::File, _) => "a regular file",
            (Protocol::HostDevice, _) => "either a character or block device",
        };
        let (name, path) = (self.name(), path.display());
        Err(refused(format!(
            "'{name}' driver requires '{path}' to be {wanted}"
        )))
    }
}

/// Who carries the transfers out (`aio`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aio {
    /// Worker threads.
    Threads,
    /// Linux AIO in QEMU, which blocks unless the page cache is bypassed.
    /// There is no such engine here: it stands for the best one, under the
    /// same condition.
    Native,
    /// The io_uring of the context in which a request runs.
    IoUring,
}

impl Aio {
    /// The engine for it; `None` for the best one.
    ///
    /// # Errors
    /// [`GraphError::Refused`] where it cannot be had.
    pub(super) fn engine(
        self,
        direct: bool,
        context: &AioContext,
    ) -> Result<Option<Engine>, GraphError> {
        match self {
            Aio::Threads => Ok(Some(Engine::Threads)),
            Aio::Native if direct => Ok(None),
            Aio::Native => Err(refused(
                "aio=native was specified, but it requires cache.direct=on, which was not \
                 specified."
                    .to_owned(),
            )),
            Aio::IoUring => match context.io_uring_error() {
                None => Ok(Some(Engine::IoUring)),
                Some(error) => Err(refused(format!(
                    "aio=io_uring was specified, but is not available: {error}"
                ))),
            },
        }
    }
}

/// How a descriptor is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    /// For writing too.
    pub(super) write: bool,
    /// Past the page cache (`O_DIRECT`).
    pub(super) direct: bool,
}

/// Opens what is at `path`.
///
/// # Errors
/// [`GraphError::Refused`] when it is of the wrong kind, or its file system
/// has no direct I/O; [`GraphError::CouldNotOpen`].
pub(super) fn open(path: &Path, protocol: Protocol, access: Access) -> Result<OwnedFd, GraphError> {
    check_before(path, protocol)?;
    let file = open_file(path, access)?;
    let kind = Kind::of(&file).map_err(|error| could_not_open(path, error))?;
    protocol.check(path, kind)?;
    Ok(file.into())
}

/// Opens for `access` what `before` is already, if that is still at `path`.
///
/// # Errors
/// Those of [`open`]; [`GraphError::CouldNotOpen`] with `ESTALE` when there
/// is something else now.
pub(super) fn open_again(
    path: &Path,
    protocol: Protocol,
    access: Access,
    before: &OwnedFd,
) -> Result<OwnedFd, GraphError> {
    let fd = open(path, protocol, access)?;
    let identity = |fd: &OwnedFd| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
    let complain = |error| could_not_open(path, io::Error::from(error));
    if identity(&fd).map_err(complain)? == identity(before).map_err(complain)? {
        return Ok(fd);
    }
    Err(complain(rustix::io::Errno::STALE))
}

/// Looks before the file is opened: opening a pipe would block, and opening a
/// device can have effects. A directory does no harm, and the kernel's word
/// for it is the better one.
fn check_before(path: &Path, protocol: Protocol) -> Result<(), GraphError> {
    let metadata = fs::metadata(path).map_err(|error| could_not_open(path, error))?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Ok(());
    }
    protocol.check(
        path,
        if kind.is_file() {
            Kind::Regular
        } else if kind.is_block_device() {
            Kind::BlockDevice
        } else if kind.is_char_device() {
            Kind::CharacterDevice
        } else {
            Kind::Other
        },
    )
}

fn open_file(path: &Path, access: Access) -> Result<File, GraphError> {
    let with = |flags: OFlags| {
        let mut options = OpenOptions::new();
        options.read(true).write(access.write);
        options.custom_flags(flags.bits() as i32).open(path)
    };
    if !access.direct {
        return with(OFlags::empty()).map_err(|error| could_not_open(path, error));
    }
    with(OFlags::DIRECT).map_err(|error| {
        // What opens without the flag was refused because of the flag.
        let invalid = error.raw_os_error() == Some(errno::EINVAL);
        if invalid && with(OFlags::empty()).is_ok() {
            let path = path.display();
            return refused(format!(
                "Could not open '{path}': filesystem does not support O_DIRECT"
            ));
        }
        could_not_open(path, error)
    })
}

pub(super) fn could_not_open(path: &Path, error: io::Error) -> GraphError {
    GraphError::CouldNotOpen {
        name: path.display().to_string(),
        error: error.into(),
    }
}

pub(super) fn refused(message: String) -> GraphError {
    GraphError::Refused {
        message,
        errno: errno::EINVAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Access = Access {
        write: false,
        direct: false,
    };

    #[test]
    fn a_file_that_was_replaced_is_not_opened_in_place_of_the_first() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("image");
        fs::write(&path, b"first").expect("written");
        let first = open(&path, Protocol::File, READ).expect("opened");
        open_again(&path, Protocol::File, READ, &first).expect("the same");
        // The first one is still open, so the second cannot get its number.
        fs::remove_file(&path).expect("removed");
        fs::write(&path, b"second").expect("written");
        let error = open_again(&path, Protocol::File, READ, &first).expect_err("another");
        let text = format!("Could not open '{}': Stale file handle", path.display());
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn a_file_system_without_direct_io_is_named() {
        let path = Path::new("/proc/cpuinfo");
        let access = Access {
            write: false,
            direct: true,
        };
        let error = open(path, Protocol::File, access).expect_err("no direct I/O");
        let text = "Could not open '/proc/cpuinfo': filesystem does not support O_DIRECT";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn each_protocol_opens_its_own_kind() {
        let null = Path::new("/dev/null");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let image = directory.path().join("image");
        fs::write(&image, b"").expect("written");
        assert_eq!(Protocol::for_path(null), Protocol::HostDevice);
        assert_eq!(Protocol::for_path(&image), Protocol::File);
        assert_eq!(Protocol::for_path("/nowhere/at/all"), Protocol::File);
        open(null, Protocol::HostDevice, READ).expect("a device");
        let error = open(null, Protocol::File, READ).expect_err("a device");
        let text = "'file' driver requires '/dev/null' to be a regular file";
        assert_eq!(error.to_string(), text);
        let error = open(&image, Protocol::HostDevice, READ).expect_err("a file");
        let text = format!(
            "'host_device' driver requires '{}' to be either a character or block device",
            image.display()
        );
        assert_eq!(error.to_string(), text);
    }
}
