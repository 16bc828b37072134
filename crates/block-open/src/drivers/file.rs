//! `file` and `host_device`.

use std::sync::Arc;

use block_common::error::errno;
use block_common::{GraphError, IoError, Preallocation, limits};
use block_drivers::file::space::Progress;
use block_drivers::file::{
    Aio, CreateOptions, File, FileSettings, Locking, Protocol as HostProtocol,
};
use block_gs::Node;
use block_io::aio::run_blocking;

use super::{Driver, Key, Protocol, Reopen};
use crate::create::{Create, CreateKind, CreateOption, Creating, How, Work};
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

const DROP_CACHE: Key = Key::switch(
    "drop-cache",
    "accepted: what the host keeps in memory is never dropped here (on)",
);
const AIO_MAX_BATCH: Key = Key::number(
    "aio-max-batch",
    "accepted: requests are handed over as they come (0)",
);
const CHECK_CACHE_DROPPED: Key =
    Key::switch("x-check-cache-dropped", "accepted, as for drop-cache (off)");
const PR_MANAGER: Key = Key::text("pr-manager", "refused: there are no such managers");

const SIZE: Key = Key::size("size", "how long the file is to be").required();
const PREALLOCATION: Key = Key::word(
    "preallocation",
    "what becomes of the space of the file (off)",
    &["off", "metadata", "falloc", "full"],
);
const NOCOW: Key = Key::switch("nocow", "whether Btrfs is to write in place (off)");
const EXTENT_SIZE_HINT: Key = Key::size(
    "extent-size-hint",
    "how much XFS is to allocate at a time, 0 for what it likes (1M)",
);

const OPTIONS: &[Key] = &[
    FILENAME,
    AIO,
    AIO_MAX_BATCH,
    LOCKING,
    DROP_CACHE,
    CHECK_CACHE_DROPPED,
    PR_MANAGER,
];

pub(super) static FILE: Driver = Driver {
    name: "file",
    about: "a regular file",
    options: OPTIONS,
    children: &[],
    protocol: Some(Protocol {
        prefix: "file",
        parse: |filename, options, _| {
            options.set(
                "filename",
                filename.strip_prefix("file:").unwrap_or(filename),
            );
            Ok(())
        },
    }),
    is_format: false,
    probe: None,
    create: Some(Create {
        options: &[
            CreateOption::new("size", CreateKind::Size, "Virtual disk size"),
            CreateOption::new(
                "nocow",
                CreateKind::Switch,
                "Turn off copy-on-write (valid only on btrfs)",
            ),
            CreateOption::new(
                "preallocation",
                CreateKind::Text,
                "Preallocation mode (allowed values: off, falloc, full)",
            ),
            CreateOption::new(
                "extent_size_hint",
                CreateKind::Size,
                "Extent size hint for the image file, 0 to disable",
            ),
        ],
        typed: &[FILENAME, SIZE, PREALLOCATION, NOCOW, EXTENT_SIZE_HINT],
        amend: &[],
        amend_only: &[],
        renamed: &[("extent_size_hint", EXTENT_SIZE_HINT.name)],
        convert: |_| Ok(()),
        how: How::File(creation),
    }),
    compresses: false,
    open: |opening| open(opening, HostProtocol::File),
    reopen: REOPEN,
};

pub(super) static HOST_DEVICE: Driver = Driver {
    name: "host_device",
    about: "a block or character device of the host",
    options: OPTIONS,
    children: &[],
    protocol: Some(Protocol {
        prefix: "host_device",
        parse: |filename, options, _| {
            options.set(
                "filename",
                filename.strip_prefix("host_device:").unwrap_or(filename),
            );
            Ok(())
        },
    }),
    is_format: false,
    probe: None,
    create: Some(Create {
        options: &[
            CreateOption::new("size", CreateKind::Size, "Virtual disk size"),
            CreateOption::new(
                "preallocation",
                CreateKind::Text,
                "Preallocation mode (allowed values: off)",
            ),
        ],
        typed: &[],
        amend: &[],
        amend_only: &[],
        renamed: &[],
        convert: |_| Ok(()),
        how: How::Existing,
    }),
    compresses: false,
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
    ..Reopen::NOTHING
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
    let path = path.filter(|path| !path.is_empty());
    let path = path.ok_or(OpenError::NoFilename(protocol.name()))?;
    let aio = opening.word(&AIO)?;
    let locking = match opening.word(&LOCKING)? {
        Some("on") => Locking::On,
        Some("off") => Locking::Off,
        _ => Locking::Auto,
    };
    opening.number(&AIO_MAX_BATCH)?;
    opening.switch(&DROP_CACHE)?;
    opening.switch(&CHECK_CACHE_DROPPED)?;
    if let Some(id) = opening.text(&PR_MANAGER)? {
        return refused(format!("No persistent reservation manager with id '{id}'"));
    }
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

/// Makes a file, which may take as long as writing all of it, so in a worker
/// thread. Who is no longer waited for stops soon.
fn creation(creating: &mut Creating) -> Result<Work, OpenError> {
    let path = creating.text(&FILENAME)?;
    let path = path.ok_or(OpenError::NoFilename(FILE.name))?;
    let size = creating.whole_sectors(&SIZE)?;
    check_size(size)?;
    let preallocation = match creating.word(&PREALLOCATION)? {
        None | Some("off") => Preallocation::Off,
        Some("falloc") => Preallocation::Falloc,
        Some("full") => Preallocation::Full,
        Some(other) => return refused(format!("Unsupported preallocation mode: {other}")),
    };
    let nocow = creating.switch(&NOCOW)?.unwrap_or(false);
    let hint = creating.size(&EXTENT_SIZE_HINT)?;
    let Ok(hint) = hint.map(u32::try_from).transpose() else {
        return refused("Extent size hint is too large".to_owned());
    };
    let options = CreateOptions::default()
        .overwrite(true)
        .preallocation(preallocation)
        .nocow(nocow)
        .extent_size_hint(hint.unwrap_or(DEFAULT_EXTENT_SIZE));
    Ok(Box::new(move |_| {
        Box::pin(async move {
            let progress = Arc::new(Progress::default());
            let _wanted = Wanted(Arc::clone(&progress));
            run_blocking(move || options.create(path, size, &progress)).await
        })
    }))
}

/// What XFS is asked for when nobody says otherwise: images that grow with
/// each write fall into small pieces there.
const DEFAULT_EXTENT_SIZE: u32 = 1 << 20;

/// Refuses sizes before the kernel does, hence before anything is lost.
fn check_size(size: u64) -> Result<(), OpenError> {
    let number = match i64::try_from(size) {
        Ok(_) if size <= limits::MAX_LENGTH => return Ok(()),
        Ok(size) if size % 512 == 0 => errno::EFBIG,
        _ => errno::EINVAL,
    };
    let reason = IoError::from_errno(number);
    Err(OpenError::Graph(GraphError::Refused {
        message: format!("Could not resize file: {reason}"),
        errno: number,
    }))
}

fn refused<T>(message: String) -> Result<T, OpenError> {
    Err(OpenError::Value(message))
}

/// Somebody still waits for the file.
struct Wanted(Arc<Progress>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A file name without a protocol becomes the option of its driver.
pub(crate) fn set_path(path: &str, options: &mut Options) {
    options.set(FILENAME.name, path);
}
