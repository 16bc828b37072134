//! `file` and `host_device`.

use block_drivers::file::{Aio, File, FileSettings, Locking, Protocol as HostProtocol};
use block_gs::Node;

use super::{Driver, Key, Protocol, Reopen};
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
    open: |opening| open(opening, HostProtocol::File),
    reopen: REOPEN,
};

pub(super) static HOST_DEVICE: Driver = Driver {
    name: "host_device",
    about: "a block or character device of the host",
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
    open: |opening| open(opening, HostProtocol::HostDevice),
    reopen: REOPEN,
};

/// Path, engine and locks stay.
const REOPEN: Reopen = Reopen {
    resettable: &[],
    take: |reopening, options| {
        let general = reopening.general();
        Ok(options.settings(FileSettings {
            direct: general.cache_direct,
            auto_read_only: general.auto_read_only,
        }))
    },
};

/// The driver for a path that says no more about itself.
pub(crate) fn driver_for_path(path: &str) -> &'static Driver {
    match HostProtocol::for_path(path) {
        HostProtocol::File => &FILE,
        HostProtocol::HostDevice => &HOST_DEVICE,
    }
}

fn open(opening: &mut Opening<'_>, protocol: HostProtocol) -> Result<Node, OpenError> {
    let path = opening.text(&FILENAME)?;
    let path = path.ok_or(OpenError::NoFilename(protocol.name()))?;
    let aio = opening.word(&AIO)?;
    let locking = match opening.word(&LOCKING)? {
        Some("on") => Locking::On,
        Some("off") => Locking::Off,
        _ => Locking::Auto,
    };
    let general = opening.general();
    let mut file = File::new(path)
        .protocol(protocol)
        .options(general.node)
        .auto_read_only(general.auto_read_only)
        .direct(general.cache_direct)
        .locking(locking);
    file = match aio {
        Some("threads") => file.aio(Aio::Threads),
        Some("native") => file.aio(Aio::Native),
        Some(_) => file.aio(Aio::IoUring),
        None => file,
    };
    opening.make(|bql, name| file.open(bql, name))
}

/// A file name without a protocol becomes the option of its driver.
pub(crate) fn set_path(path: &str, options: &mut Options) {
    options.set(FILENAME.name, path);
}
