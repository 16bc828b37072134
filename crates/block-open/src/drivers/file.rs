//! `file` and `host_device`.

use std::fs;
use std::os::unix::fs::FileTypeExt;

use block_drivers::File;
use block_gs::{GraphError, Node};
use block_io::aio::Engine;

use super::{Driver, Key, Protocol};
use crate::opening::Opening;
use crate::{OpenError, Options};

const FILENAME: Key = Key::text("filename", "the path of the file or device").required();
const AIO: Key = Key::word(
    "aio",
    "who carries out transfers (the best there is)",
    &["threads", "native", "io_uring"],
);
const LOCKING: Key = Key::word(
    "locking",
    "whether other processes are locked out (auto)",
    &["auto", "on", "off"],
);

pub(super) static FILE: Driver = Driver {
    name: "file",
    about: "a regular file",
    options: &[FILENAME, AIO, LOCKING],
    children: &[],
    protocol: Some(Protocol {
        prefix: "file",
        parse: |filename, options| {
            options.set(
                "filename",
                filename.strip_prefix("file:").unwrap_or(filename),
            );
            Ok(())
        },
    }),
    is_format: false,
    open,
};

pub(super) static HOST_DEVICE: Driver = Driver {
    name: "host_device",
    about: "a block device of the host",
    options: &[FILENAME, AIO, LOCKING],
    children: &[],
    protocol: Some(Protocol {
        prefix: "host_device",
        parse: |filename, options| {
            options.set(
                "filename",
                filename.strip_prefix("host_device:").unwrap_or(filename),
            );
            Ok(())
        },
    }),
    is_format: false,
    open,
};

/// The driver for a path that says no more about itself.
pub(crate) fn driver_for_path(path: &str) -> &'static Driver {
    if is_device(path) { &HOST_DEVICE } else { &FILE }
}

fn is_device(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device())
}

fn open(opening: &mut Opening<'_>) -> Result<Node, OpenError> {
    let driver = opening.driver().name;
    let path = opening.text(&FILENAME)?;
    let path = path.ok_or(OpenError::NoFilename(driver))?;
    let aio = opening.word(&AIO)?;
    let locking = opening.word(&LOCKING)?;
    let general = opening.general().clone();
    let engine = match aio {
        None => None,
        Some("threads") => Some(Engine::Threads),
        Some("native") if !general.cache_direct => {
            return Err(OpenError::Value(
                "aio=native was specified, but it requires cache.direct=on, which was not \
                 specified."
                    .into(),
            ));
        }
        // What Linux AIO was for io_uring does too.
        Some(_) => Some(Engine::IoUring),
    };
    if general.cache_direct {
        return Err(not_supported(driver, "cache.direct=on"));
    }
    if locking == Some("on") {
        return Err(not_supported(driver, "locking=on"));
    }
    check_kind(driver, &path)?;
    let file = |read_only| File::new(&path).engine(engine).read_only(read_only);
    opening.make(|bql, name| match file(general.read_only).open(bql, name) {
        Err(GraphError::CouldNotOpen { error, .. })
            if general.auto_read_only && !general.read_only && is_write_refused(error.errno()) =>
        {
            file(true).open(bql, name)
        }
        outcome => outcome,
    })
}

fn not_supported(driver: &str, option: &str) -> OpenError {
    OpenError::NotSupported(format!("'{driver}' driver does not support {option} yet"))
}

/// A path that cannot be looked at is left to be opened, for the message.
fn check_kind(driver: &str, path: &str) -> Result<(), OpenError> {
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(());
    };
    let kind = metadata.file_type();
    let is_device = kind.is_block_device() || kind.is_char_device();
    let wanted = match driver {
        "host_device" if !is_device => "either a character or block device",
        "file" if is_device => "a regular file",
        _ => return Ok(()),
    };
    Err(OpenError::Value(format!(
        "'{driver}' driver requires '{path}' to be {wanted}"
    )))
}

/// Whether the file may still be opened for reading.
fn is_write_refused(errno: i32) -> bool {
    const EACCES: i32 = 13;
    const EROFS: i32 = 30;
    matches!(errno, block_common::error::errno::EPERM | EACCES | EROFS)
}

/// A file name without a protocol becomes the option of its driver.
pub(crate) fn set_path(path: &str, options: &mut Options) {
    options.set(FILENAME.name, path);
}
