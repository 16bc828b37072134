//! What an image is, as its first bytes tell.

use crate::drivers::{Driver, drivers};

/// How much of an image is looked at (`BLOCK_PROBE_BUF_SIZE`).
pub(crate) const PROBED: usize = 512;

/// How sure `raw` is of any image: less than everybody else who has a reason.
const RAW: u8 = 1;

/// The name of the format whose image begins with `beginning` (512 bytes, or
/// all of it) and is called `filename` (`bdrv_probe_all`). What no format
/// knows is `raw`, and so is what is empty. It may be a format for which there
/// is no driver.
///
/// ```
/// assert_eq!(block_open::probe(b"QFI\xfb\0\0\0\x03", "disk.img"), "qcow2");
/// assert_eq!(block_open::probe(&[0; 512], "disk.img"), "raw");
/// ```
pub fn probe(beginning: &[u8], filename: &str) -> &'static str {
    let beginning = &beginning[..beginning.len().min(PROBED)];
    if beginning.is_empty() {
        return "raw";
    }
    let ours = drivers().iter().filter_map(|driver| {
        let score = (driver.probe?)(beginning, filename);
        Some((driver.name, score))
    });
    let others = FOREIGN
        .iter()
        .map(|(name, probe)| (*name, probe(beginning, filename)));
    let mut best = ("raw", RAW);
    for (name, score) in ours.chain(others) {
        if score > best.1 {
            best = (name, score);
        }
    }
    best.0
}

/// The driver of that format, if there is one.
///
/// # Errors
/// The name of the format that has none.
pub(crate) fn driver(beginning: &[u8], filename: &str) -> Result<&'static Driver, &'static str> {
    let name = probe(beginning, filename);
    Driver::find(name).ok_or(name)
}

/// Whether a file that begins so is taken for an image without a format,
/// whatever it is called.
pub(crate) fn is_raw(beginning: &[u8]) -> bool {
    probe(beginning, "") == "raw"
}

type Probe = fn(&[u8], &str) -> u8;

/// Formats that have no driver here. Who opens an image of one must not be
/// given its bytes as if they were the guest's; and a guest must not be able
/// to make its image one for another program. Of two that are equally sure the
/// first counts.
static FOREIGN: &[(&str, Probe)] = &[
    ("bochs", |image, _| {
        let named = begins(image, b"Bochs Virtual HD Image\0");
        let redolog = at(image, 32, b"Redolog\0") && at(image, 48, b"Growing\0");
        let version = number_le(image, 64);
        sure(named && redolog && matches!(version, Some(0x0001_0000 | 0x0002_0000)))
    }),
    ("dmg", |_, filename| match filename.ends_with(".dmg") {
        true => 2,
        false => 0,
    }),
    ("cloop", |image, _| match begins(image, CLOOP) {
        true => 2,
        false => 0,
    }),
    ("luks", |image, _| {
        sure(begins(image, b"LUKS\xba\xbe\0\x01"))
    }),
    ("parallels", |image, _| {
        let magic = begins(image, b"WithoutFreeSpace") || begins(image, b"WithouFreSpacExt");
        sure(magic && number_le(image, 16) == Some(2))
    }),
    ("qcow", |image, _| sure(begins(image, b"QFI\xfb\0\0\0\x01"))),
    ("qcow2", |image, _| {
        let version = image
            .get(4..8)
            .is_some_and(|version| version >= &[0, 0, 0, 2][..]);
        sure(begins(image, b"QFI\xfb") && version)
    }),
    ("qed", |image, _| sure(begins(image, b"QED\0"))),
    ("vdi", |image, _| {
        sure(at(image, 64, &[0x7f, 0x10, 0xda, 0xbe]))
    }),
    ("vhdx", |image, _| sure(begins(image, b"vhdxfile"))),
    ("vmdk", |image, _| {
        let sparse = begins(image, b"KDMV") || begins(image, b"COWD");
        sure(sparse || is_vmdk_descriptor(image))
    }),
    ("vpc", |image, _| sure(begins(image, b"conectix"))),
];

const CLOOP: &[u8] = b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 \
                       /dev/cloop $1\n";

fn sure(it_is: bool) -> u8 {
    match it_is {
        true => 100,
        false => 0,
    }
}

fn begins(image: &[u8], magic: &[u8]) -> bool {
    at(image, 0, magic)
}

fn at(image: &[u8], offset: usize, magic: &[u8]) -> bool {
    image
        .get(offset..)
        .is_some_and(|rest| rest.starts_with(magic))
}

fn number_le(image: &[u8], offset: usize) -> Option<u32> {
    let bytes = image.get(offset..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

/// The text form: comments and lines of blanks, then `version=` with one of
/// the versions that there are.
fn is_vmdk_descriptor(image: &[u8]) -> bool {
    for line in image.split_inclusive(|byte| *byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\n") else {
            return false;
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_blank = !line.is_empty() && line.iter().all(|byte| *byte == b' ');
        if line.starts_with(b"#") || is_blank {
            continue;
        }
        return matches!(line, b"version=1" | b"version=2" | b"version=3");
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_foreign_has_no_driver() {
        for (name, _) in FOREIGN {
            let driver = Driver::find(name);
            assert!(driver.is_none_or(|driver| driver.probe.is_none()), "{name}");
        }
    }
}
