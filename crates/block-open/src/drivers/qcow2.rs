//! `qcow2`.

use block_common::{GraphError, Role};
use block_gs::{Backend, CreateImage, Creation, HeaderBacking, Measurement, NewImage, Node, Perm};
use block_io::Preallocation;
use block_qcow2::format::header::Compression;
use block_qcow2::{CreateOptions, OverlapChecks, Qcow2Image, Qcow2Options};

use super::{Child, Driver, Key, Reopen};
use crate::create::{Create, CreateKind, CreateOption, Creating, How, make_beside};
use crate::opening::Opening;
use crate::reopen::Reopening;
use crate::{OpenError, Options, Value};

const LAZY: Key = Key::switch("lazy-refcounts", "reference counts may be stored late");
const PASS_REQUEST: Key = Key::switch(
    "pass-discard-request",
    "what a guest gives up is given up in the file (as `discard` says)",
);
const PASS_SNAPSHOT: Key = Key::switch(
    "pass-discard-snapshot",
    "what only a deleted snapshot had is given up in the file (on)",
);
const PASS_OTHER: Key = Key::switch(
    "pass-discard-other",
    "what is given up otherwise is given up in the file (off)",
);
const NO_UNREF: Key = Key::switch(
    "discard-no-unref",
    "what a guest gives up keeps its place in the file (off)",
);
const OVERLAP: Key = Key::text(
    "overlap-check",
    "what is looked at before it could be overwritten: none, constant, cached, all",
);
const OVERLAP_TEMPLATE: Key = Key::text("overlap-check.template", "the same");
const CACHE: Key = Key::size("cache-size", "how much metadata is kept in memory");
const L2_CACHE: Key = Key::size("l2-cache-size", "how much of that is for L2 tables (32M)");
const L2_ENTRY: Key = Key::size("l2-cache-entry-size", "how much of a table is kept at once");
const COUNT_CACHE: Key = Key::size("refcount-cache-size", "how much is for reference counts");
const CLEAN: Key = Key::number(
    "cache-clean-interval",
    "after how many seconds what is not used goes (600)",
);

/// The single checks.
const OVERLAPS: &[(Key, OverlapChecks)] = &[
    (
        Key::switch("overlap-check.main-header", "the header is looked at"),
        OverlapChecks::MAIN_HEADER,
    ),
    (
        Key::switch("overlap-check.active-l1", "the L1 table is looked at"),
        OverlapChecks::ACTIVE_L1,
    ),
    (
        Key::switch("overlap-check.active-l2", "L2 tables are looked at"),
        OverlapChecks::ACTIVE_L2,
    ),
    (
        Key::switch(
            "overlap-check.refcount-table",
            "the refcount table is looked at",
        ),
        OverlapChecks::REFCOUNT_TABLE,
    ),
    (
        Key::switch(
            "overlap-check.refcount-block",
            "refcount blocks are looked at",
        ),
        OverlapChecks::REFCOUNT_BLOCK,
    ),
    (
        Key::switch(
            "overlap-check.snapshot-table",
            "the snapshot table is looked at",
        ),
        OverlapChecks::SNAPSHOT_TABLE,
    ),
    (
        Key::switch(
            "overlap-check.inactive-l1",
            "L1 tables of snapshots are looked at",
        ),
        OverlapChecks::INACTIVE_L1,
    ),
    (
        Key::switch(
            "overlap-check.inactive-l2",
            "L2 tables of snapshots are looked at",
        ),
        OverlapChecks::INACTIVE_L2,
    ),
    (
        Key::switch(
            "overlap-check.bitmap-directory",
            "the bitmap directory is looked at",
        ),
        OverlapChecks::BITMAP_DIRECTORY,
    ),
];

const FILE: &str = "file";
const DATA_FILE: &str = "data-file";
const BACKING: &str = "backing";

pub(super) static QCOW2: Driver = Driver {
    name: "qcow2",
    about: "an image that grows, over another one if it has to",
    options: &[
        LAZY,
        PASS_REQUEST,
        PASS_SNAPSHOT,
        PASS_OTHER,
        NO_UNREF,
        OVERLAP,
        OVERLAP_TEMPLATE,
        OVERLAPS[0].0,
        OVERLAPS[1].0,
        OVERLAPS[2].0,
        OVERLAPS[3].0,
        OVERLAPS[4].0,
        OVERLAPS[5].0,
        OVERLAPS[6].0,
        OVERLAPS[7].0,
        OVERLAPS[8].0,
        CACHE,
        L2_CACHE,
        L2_ENTRY,
        COUNT_CACHE,
        CLEAN,
    ],
    children: &[
        Child {
            name: FILE,
            role: Role::IMAGE,
            required: true,
            about: "where the image is",
        },
        Child {
            name: DATA_FILE,
            role: Role::DATA,
            required: false,
            about: "where the data is, if it is elsewhere (what the image says)",
        },
        Child {
            name: BACKING,
            role: Role::COW,
            required: false,
            about: "what is read where the image has nothing (what the image says)",
        },
    ],
    protocol: None,
    is_format: true,
    probe: Some(block_qcow2::probe),
    create: Some(CREATE),
    compresses: true,
    open,
    reopen: Reopen {
        resettable: &[
            LAZY.name,
            PASS_REQUEST.name,
            PASS_SNAPSHOT.name,
            PASS_OTHER.name,
            NO_UNREF.name,
            OVERLAP.name,
            OVERLAP_TEMPLATE.name,
            OVERLAPS[0].0.name,
            OVERLAPS[1].0.name,
            OVERLAPS[2].0.name,
            OVERLAPS[3].0.name,
            OVERLAPS[4].0.name,
            OVERLAPS[5].0.name,
            OVERLAPS[6].0.name,
            OVERLAPS[7].0.name,
            OVERLAPS[8].0.name,
            CACHE.name,
            L2_CACHE.name,
            L2_ENTRY.name,
            COUNT_CACHE.name,
            CLEAN.name,
        ],
        take: |reopening, options| {
            let settings = settings(reopening)?;
            Ok(options.settings(settings))
        },
        overrule,
    },
};

/// A new template is not one for single checks that were asked for before, and
/// sizes of caches are those of one time: a new sum overrules its parts, and an
/// old sum is none of new parts.
fn overrule(now: &Options, before: &mut Options) {
    let template = [OVERLAP.name, OVERLAP_TEMPLATE.name];
    if template.iter().any(|name| now.get(name).is_some()) {
        let checks = OVERLAPS.iter().map(|(key, _)| key.name);
        for name in checks.chain(template) {
            before.remove(name);
        }
    }
    match now.get(CACHE.name) {
        Some(_) => {
            before.remove(L2_CACHE.name);
            before.remove(COUNT_CACHE.name);
        }
        None => {
            before.remove(CACHE.name);
        }
    }
}

/// Whoever has options of the driver.
trait Given {
    fn text(&mut self, key: &Key) -> Result<Option<String>, OpenError>;
    fn switch(&mut self, key: &Key) -> Result<Option<bool>, OpenError>;
    fn size(&mut self, key: &Key) -> Result<Option<u64>, OpenError>;
    fn number(&mut self, key: &Key) -> Result<Option<i64>, OpenError>;
}

macro_rules! given {
    ($whose:ty) => {
        impl Given for $whose {
            fn text(&mut self, key: &Key) -> Result<Option<String>, OpenError> {
                <$whose>::text(self, key)
            }
            fn switch(&mut self, key: &Key) -> Result<Option<bool>, OpenError> {
                <$whose>::switch(self, key)
            }
            fn size(&mut self, key: &Key) -> Result<Option<u64>, OpenError> {
                <$whose>::size(self, key)
            }
            fn number(&mut self, key: &Key) -> Result<Option<i64>, OpenError> {
                <$whose>::number(self, key)
            }
        }
    };
}

given!(Opening<'_>);
given!(Reopening<'_>);

/// What the driver is told.
fn settings(given: &mut impl Given) -> Result<Qcow2Options, OpenError> {
    let overlap = given.text(&OVERLAP)?;
    let template = given.text(&OVERLAP_TEMPLATE)?;
    if let (Some(one), Some(other)) = (&overlap, &template)
        && one != other
    {
        return Err(OpenError::Value(format!(
            "Conflicting values for qcow2 options 'overlap-check' ('{one}') and \
             'overlap-check.template' ('{other}')"
        )));
    }
    let mut overlap_checks = Vec::new();
    for (key, check) in OVERLAPS {
        if let Some(on) = given.switch(key)? {
            overlap_checks.push((*check, on));
        }
    }
    let interval = given.number(&CLEAN)?;
    Ok(Qcow2Options {
        cache_size: given.size(&CACHE)?,
        l2_cache_size: given.size(&L2_CACHE)?,
        l2_cache_entry_size: given.size(&L2_ENTRY)?,
        refcount_cache_size: given.size(&COUNT_CACHE)?,
        cache_clean_interval: interval.map(|seconds| u64::try_from(seconds).unwrap_or(u64::MAX)),
        lazy_refcounts: given.switch(&LAZY)?,
        pass_discard_request: given.switch(&PASS_REQUEST)?,
        pass_discard_snapshot: given.switch(&PASS_SNAPSHOT)?,
        pass_discard_other: given.switch(&PASS_OTHER)?,
        discard_no_unref: given.switch(&NO_UNREF)?,
        overlap_check: overlap.or(template),
        overlap_checks,
    })
}

fn open(opening: &mut Opening<'_>) -> Result<Node, OpenError> {
    let settings = settings(opening)?;
    let file = opening.child(FILE)?;
    let read = match opening.is_to_be_checked() {
        true => Qcow2Image::read_to_be_checked,
        false => Qcow2Image::read,
    };
    let mut image = opening.with_guard(|bql| read(bql, &file))?;
    image = image.settings(settings).options(opening.general().node);
    let without_io = opening.is_without_io();
    image = image.without_io(without_io);
    let data_file = match (opening.child(DATA_FILE), image.data_file_name()) {
        _ if without_io => None,
        (Ok(node), _) => Some(node),
        (Err(_), Some(name)) => Some(opening.open_data(name)?),
        (Err(_), None) => None,
    };
    if let Some(data_file) = data_file {
        image = image.data_file(&data_file);
    }
    if let Ok(backing) = opening.child(BACKING) {
        image = image.backing(&backing);
    } else if let Some(HeaderBacking { file: name, format }) = image.backing_file()
        && !name.is_empty()
        && !opening.goes_without(BACKING)
    {
        let base = opening.beside(&file, &name)?;
        let below = opening.open_backing(&base, format.as_deref());
        let below = below.map_err(|error| OpenError::Below(Box::new(error)))?;
        image = image.backing(&below);
    }
    opening.make(|bql, name| image.open(bql, name))
}

const SIZE: Key = Key::size("size", "what the guest sees, in bytes").required();
const VERSION: Key = Key::word("version", "the version of the format (v3)", &["v2", "v3"]);
const BACKING_FILE: Key = Key::text("backing-file", "the name of the backing image");
const BACKING_FORMAT: Key = Key::text("backing-fmt", "its format");
const DATA: Key = Key::text("data-file", "where the data is to be");
const DATA_RAW: Key = Key::switch("data-file-raw", "that file is a raw image (off)");
const EXTENDED: Key = Key::switch("extended-l2", "clusters are divided (off)");
const CLUSTER: Key = Key::size("cluster-size", "how much is allocated at once (65536)");
const PREALLOCATION: Key = Key::word(
    "preallocation",
    "how the space is provided (off)",
    &["off", "metadata", "falloc", "full"],
);
const NEW_LAZY: Key = Key::switch(
    "lazy-refcounts",
    "reference counts may be stored late (off)",
);
const WIDTH: Key = Key::number("refcount-bits", "how wide a reference count is (16)");
const COMPRESSION: Key = Key::word(
    "compression-type",
    "how compressed clusters are packed (zlib)",
    &["zlib", "zstd"],
);

/// What QEMU knows as drivers. An image may be based on what only QEMU opens.
const QEMU_DRIVERS: [&str; 47] = [
    "blkdebug",
    "blklogwrites",
    "blkreplay",
    "blkverify",
    "bochs",
    "cloop",
    "compress",
    "copy-before-write",
    "copy-on-read",
    "dmg",
    "file",
    "ftp",
    "ftps",
    "gluster",
    "host_cdrom",
    "host_device",
    "http",
    "https",
    "io_uring",
    "iscsi",
    "luks",
    "nbd",
    "nfs",
    "null-aio",
    "null-co",
    "nvme",
    "nvme-io_uring",
    "parallels",
    "preallocate",
    "qcow",
    "qcow2",
    "qed",
    "quorum",
    "raw",
    "rbd",
    "replication",
    "snapshot-access",
    "ssh",
    "throttle",
    "vdi",
    "vhdx",
    "virtio-blk-vfio-pci",
    "virtio-blk-vhost-user",
    "virtio-blk-vhost-vdpa",
    "vmdk",
    "vpc",
    "vvfat",
];

/// The format of what is below, which has to be one that there is.
fn backing_format(creating: &mut Creating) -> Result<Option<String>, OpenError> {
    let format = creating.text(&BACKING_FORMAT)?;
    match format {
        Some(format) if !QEMU_DRIVERS.contains(&&*format) => Err(OpenError::Value(format!(
            "Parameter 'backing-fmt' does not accept value '{format}'"
        ))),
        format => Ok(format),
    }
}

const ITER_TIME: CreateOption = CreateOption::new(
    "encrypt.iter-time",
    CreateKind::Number,
    "Time to spend in PBKDF in milliseconds",
);

const CREATE: Create = Create {
    options: &[
        CreateOption::new(
            "encryption",
            CreateKind::Switch,
            "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)",
        ),
        CreateOption::new(
            "encrypt.format",
            CreateKind::Text,
            "Encrypt the image, format choices: 'aes', 'luks'",
        ),
        CreateOption::new(
            "encrypt.key-secret",
            CreateKind::Text,
            "ID of secret providing qcow AES key or LUKS passphrase",
        ),
        CreateOption::new(
            "encrypt.cipher-alg",
            CreateKind::Text,
            "Name of encryption cipher algorithm",
        ),
        CreateOption::new(
            "encrypt.cipher-mode",
            CreateKind::Text,
            "Name of encryption cipher mode",
        ),
        CreateOption::new(
            "encrypt.ivgen-alg",
            CreateKind::Text,
            "Name of IV generator algorithm",
        ),
        CreateOption::new(
            "encrypt.ivgen-hash-alg",
            CreateKind::Text,
            "Name of IV generator hash algorithm",
        ),
        CreateOption::new(
            "encrypt.hash-alg",
            CreateKind::Text,
            "Name of encryption hash algorithm",
        ),
        ITER_TIME,
        CreateOption::new("cluster_size", CreateKind::Size, "qcow2 cluster size").or("65536"),
        CreateOption::new("extended_l2", CreateKind::Switch, "Extended L2 tables").or("off"),
        CreateOption::new(
            "preallocation",
            CreateKind::Text,
            "Preallocation mode (allowed values: off, metadata, falloc, full)",
        ),
        CreateOption::new(
            "compression_type",
            CreateKind::Text,
            "Compression method used for image cluster compression",
        )
        .or("zlib"),
        CreateOption::new("size", CreateKind::Size, "Virtual disk size"),
        CreateOption::new(
            "compat",
            CreateKind::Text,
            "Compatibility level (v2 [0.10] or v3 [1.1])",
        ),
        CreateOption::new(
            "backing_file",
            CreateKind::Text,
            "File name of a base image",
        ),
        CreateOption::new(
            "backing_fmt",
            CreateKind::Text,
            "Image format of the base image",
        ),
        CreateOption::new(
            "data_file",
            CreateKind::Text,
            "File name of an external data file",
        ),
        CreateOption::new(
            "data_file_raw",
            CreateKind::Switch,
            "The external data file must stay valid as a raw image",
        ),
        CreateOption::new(
            "lazy_refcounts",
            CreateKind::Switch,
            "Postpone refcount updates",
        )
        .or("off"),
        CreateOption::new(
            "refcount_bits",
            CreateKind::Number,
            "Width of a reference count entry in bits",
        )
        .or("16"),
    ],
    typed: &[
        SIZE,
        VERSION,
        BACKING_FILE,
        BACKING_FORMAT,
        DATA,
        DATA_RAW,
        EXTENDED,
        CLUSTER,
        PREALLOCATION,
        NEW_LAZY,
        WIDTH,
        COMPRESSION,
    ],
    amend: &[
        "backing_file",
        "backing_fmt",
        "compat",
        "data_file",
        "data_file_raw",
        "encrypt.iter-time",
        "lazy_refcounts",
        "refcount_bits",
        "size",
    ],
    amend_only: &[
        CreateOption::new(
            "encrypt.keyslot",
            CreateKind::Number,
            "Select a single keyslot to modify explicitly",
        ),
        CreateOption::new(
            "encrypt.new-secret",
            CreateKind::Text,
            "New secret to set in the matching keyslots. Empty string to erase",
        ),
        CreateOption::new(
            "encrypt.old-secret",
            CreateKind::Text,
            "Select all keyslots that match this password",
        ),
        CreateOption::new(
            "encrypt.state",
            CreateKind::Text,
            "Select new state of affected keyslots (active/inactive)",
        ),
    ],
    renamed: &[
        ("backing_file", "backing-file"),
        ("backing_fmt", "backing-fmt"),
        ("cluster_size", "cluster-size"),
        ("compat", "version"),
        ("compression_type", "compression-type"),
        ("data_file", "data-file"),
        ("data_file_raw", "data-file-raw"),
        ("extended_l2", "extended-l2"),
        ("lazy_refcounts", "lazy-refcounts"),
        ("refcount_bits", "refcount-bits"),
    ],
    convert,
    how: How::InFile(create),
};

/// Refuses what would encrypt an image.
fn refuse_encryption(options: &Options) -> Result<(), OpenError> {
    let is_given = |key: &str| options.get(key).is_some();
    let mut keys = options.iter().map(|(key, _)| key);
    let encrypts = |key: &str| key == "encryption" || key.starts_with("encrypt.");
    if !keys.any(encrypts) {
        return Ok(());
    }
    let format = options.get("encrypt.format").map(Value::to_string);
    let text = match format.as_deref() {
        Some(_) if is_given("encryption") => {
            "'encrypt.format' and its alias 'encryption' can't be used at the same time".to_owned()
        }
        Some(word) if !matches!(word, "aes" | "luks") => {
            format!("Parameter 'format' does not accept value '{word}'")
        }
        None if !is_given("encryption") => "Parameter 'encrypt.format' is missing".to_owned(),
        _ if !is_given("encrypt.key-secret") => {
            "Parameter 'encrypt.key-secret' is required for cipher".to_owned()
        }
        _ => "Encrypted images are not supported".to_owned(),
    };
    Err(OpenError::Value(text))
}

/// Levels of compatibility have older names. Options of encryption are known
/// and refused: no image here is encrypted.
fn convert(options: &mut Options) -> Result<(), OpenError> {
    let old = options.get("encryption").map(Value::to_string);
    if old.is_some_and(|word| matches!(&*word, "off" | "no" | "false" | "n")) {
        options.remove("encryption");
    }
    refuse_encryption(options)?;
    let level = options.get(VERSION.name).map(Value::to_string);
    let version = match level.as_deref() {
        Some("0.10") => "v2",
        Some("1.1") => "v3",
        _ => return Ok(()),
    };
    options.set(VERSION.name, version);
    Ok(())
}

fn create(creating: &mut Creating) -> Result<Box<dyn CreateImage>, OpenError> {
    let size = creating.size(&SIZE)?.unwrap_or(0);
    let usual = CreateOptions::new(size);
    let version = match creating.word(&VERSION)? {
        Some("v2") => 2,
        _ => 3,
    };
    let preallocation = match creating.word(&PREALLOCATION)? {
        Some("metadata") => Preallocation::Metadata,
        Some("falloc") => Preallocation::Falloc,
        Some("full") => Preallocation::Full,
        _ => Preallocation::Off,
    };
    let compression = match creating.word(&COMPRESSION)? {
        Some("zstd") => Compression::Zstd,
        _ => Compression::Zlib,
    };
    // A width that is none is refused by the format.
    let width = creating
        .number(&WIDTH)?
        .map(|bits| u32::try_from(bits).unwrap_or(0));
    let options = CreateOptions {
        version,
        preallocation,
        compression,
        cluster_size: creating.size(&CLUSTER)?.unwrap_or(usual.cluster_size),
        refcount_bits: width.unwrap_or(usual.refcount_bits),
        lazy_refcounts: creating.switch(&NEW_LAZY)?.unwrap_or(false),
        extended_l2: creating.switch(&EXTENDED)?.unwrap_or(false),
        backing_file: creating.text(&BACKING_FILE)?,
        backing_format: backing_format(creating)?,
        data_file: creating.text(&DATA)?,
        data_file_raw: creating.switch(&DATA_RAW)?.unwrap_or(false),
        ..usual
    };
    Ok(match options.data_file.is_some() {
        true => Box::new(WithData(options)),
        false => Box::new(options),
    })
}

/// An image whose data is in another file, which is made too.
#[derive(Debug)]
struct WithData(CreateOptions);

impl CreateImage for WithData {
    fn unit(&self) -> u64 {
        self.0.cluster_size
    }

    fn measure(&self, data: u64) -> Result<Measurement, GraphError> {
        Ok(self.0.measure(data)?)
    }

    fn create(self: Box<Self>, image: NewImage) -> Creation {
        Box::pin(async move {
            let options = self.0;
            options.check()?;
            let path = options.data_file.clone().unwrap_or_default();
            let made = make_beside(image.main_loop(), &path).await;
            let file = made.map_err(|error| match error {
                OpenError::Graph(error) => error,
                error => GraphError::Refused {
                    message: error.to_string(),
                    errno: error.errno(),
                },
            })?;
            let opened = image
                .main_loop()
                .call(move |bql| -> Result<Backend, GraphError> {
                    let perm = Perm::CONSISTENT_READ | Perm::WRITE | Perm::RESIZE;
                    let data = Backend::new(bql, "", perm, Perm::all())?;
                    data.set_grows(bql, true);
                    data.insert(bql, &file)?;
                    Ok(data)
                })
                .await?;
            let data = opened?;
            Ok(options.write_to(image.root(), Some(data.root())).await?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_now_overrules_what_was_said() {
        let left = |now: &str, before: &str| {
            let [now, mut before] =
                [now, before].map(|text| Options::parse(text).expect("options"));
            overrule(&now, &mut before);
            before.to_string()
        };
        let parts = "l2-cache-size=1M,refcount-cache-size=1M";
        assert_eq!(left("cache-size=2M", parts), "");
        assert_eq!(left("l2-cache-size=2M", parts), parts);
        assert_eq!(left("l2-cache-size=2M", "cache-size=1M"), "");
        assert_eq!(left("lazy-refcounts=on", "cache-size=1M"), "");
        let checks = "overlap-check.active-l1=off,overlap-check.template=all";
        assert_eq!(left("overlap-check.active-l1=on", checks), checks);
        assert_eq!(left("overlap-check=none", checks), "");
        assert_eq!(left("overlap-check.template=none", checks), "");
        assert_eq!(
            left("overlap-check=none", "cache-clean-interval=5"),
            "cache-clean-interval=5"
        );
    }
}
