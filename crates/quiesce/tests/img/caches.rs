//! Sizes of qcow2's caches: which are refused, in which words, when an image
//! is opened and when it is reopened; and what is read and written with those
//! that are not.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::both::{ours, theirs};

/// `qemu-io`, beside QEMU's `qemu-img`.
fn their_io() -> Option<(PathBuf, PathBuf)> {
    let img = theirs()?;
    let io = img.with_file_name("qemu-io");
    io.is_file().then_some((img, io))
}

/// A directory with two images, and the tool by its name.
struct Place {
    images: TempDir,
    tool: TempDir,
}

impl Place {
    fn new(program: &Path, qemu_img: &Path) -> Place {
        let place = Place {
            images: TempDir::new().expect("a directory"),
            tool: TempDir::new().expect("a directory"),
        };
        symlink(program, place.tool.path().join("qemu-io")).expect("linked");
        for (name, options) in [
            ("usual", "cluster_size=65536"),
            ("tiny", "cluster_size=512,refcount_bits=64"),
            ("old", "compat=0.10,cluster_size=4096"),
            ("sub", "extended_l2=on,cluster_size=16384,refcount_bits=1"),
        ] {
            let made = Command::new(qemu_img)
                .args(["create", "-q", "-f", "qcow2", "-o", options])
                .arg(place.images.path().join(name))
                .arg("16M")
                .status();
            assert!(made.expect("it starts").success(), "{name}");
        }
        place
    }

    fn run(&self, line: &[&str]) -> Output {
        let mut command = Command::new(self.tool.path().join("qemu-io"));
        command.current_dir(self.images.path()).args(line);
        command.stdin(Stdio::null()).output().expect("it starts")
    }
}

/// What is said and what comes of it, without times.
fn said(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let lines = text.lines().map(|line| match line.find(" ops; ") {
            Some(end) => &line[..end],
            None => line,
        });
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let code = output.status.code();
    (text(&output.stdout), text(&output.stderr), code)
}

/// Sizes, one after the other.
const SIZES: &[&str] = &[
    "cache-size=1M,l2-cache-size=64k,refcount-cache-size=64k",
    "cache-size=1M,l2-cache-size=2M",
    "cache-size=1M,refcount-cache-size=2M",
    "cache-size=0,l2-cache-size=0,refcount-cache-size=0",
    "refcount-cache-size=2048T",
    "cache-size=2048T",
    "cache-size=2048T,l2-cache-size=1M",
    "l2-cache-size=256T",
    "l2-cache-entry-size=256",
    "l2-cache-entry-size=4242",
    "l2-cache-entry-size=128k",
    "l2-cache-entry-size=0",
    "l2-cache-entry-size=512,l2-cache-size=0",
    "cache-size=1M,l2-cache-size=2M,l2-cache-entry-size=3",
    "l2-cache-entry-size=3,refcount-cache-size=2048T",
    "refcount-cache-size=2048T,cache-clean-interval=-1",
    "cache-clean-interval=-1",
    "cache-clean-interval=-1,lazy-refcounts=on",
    "cache-clean-interval=4294967296",
    "cache-clean-interval=4294967295",
    "cache-clean-interval=-1,overlap-check=blubb",
    "cache-clean-interval=0",
    "cache-size=0",
    "l2-cache-size=0",
    "refcount-cache-size=0",
    "cache-size=2M,l2-cache-size=1M",
    "cache-size=2M,refcount-cache-size=1M",
    "cache-size=64k",
    "l2-cache-size=1",
    "l2-cache-size=-1",
    "cache-size=16E",
    "cache-clean-interval=x",
];

const IMAGES: &[&str] = &["usual", "tiny", "old", "sub"];

#[test]
fn caches_are_refused_in_the_same_words() {
    let Some((qemu_img, qemu_io)) = their_io() else {
        return;
    };
    let (mine, other) = (
        Place::new(ours(), &qemu_img),
        Place::new(&qemu_io, &qemu_img),
    );
    let mut differences = Vec::new();
    for image in IMAGES {
        for sizes in SIZES {
            let opened = format!("driver=qcow2,file.filename={image},{sizes}");
            let write = ["-c", "write -P 5 1M 3k", "-c", "read -P 5 1M 3k"];
            let line = [&["--image-opts", &*opened][..], &write].concat();
            let (found, expected) = (said(&mine.run(&line)), said(&other.run(&line)));
            if found != expected {
                differences.push(format!("{line:?}: {found:?}, and QEMU: {expected:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn an_image_is_used_with_one_size_after_the_other() {
    let Some((qemu_img, qemu_io)) = their_io() else {
        return;
    };
    for image in IMAGES {
        let (mine, other) = (
            Place::new(ours(), &qemu_img),
            Place::new(&qemu_io, &qemu_img),
        );
        let mut line: Vec<String> = Vec::new();
        for (number, sizes) in SIZES.iter().enumerate() {
            let offset = number * 400;
            for command in [
                format!("reopen -o {sizes}"),
                format!("write -P {number} {offset}k 6k"),
                format!("discard {}k 64k", (offset + 4000) % 16000),
                format!("read -P {number} {offset}k 6k"),
                format!("read -v {}k 64", offset.saturating_sub(400)),
            ] {
                line.extend(["-c".to_owned(), command]);
            }
        }
        line.push((*image).to_owned());
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        assert_eq!(said(&mine.run(&line)), said(&other.run(&line)), "{image}");
        let contents = |place: &Place| {
            let path = place.images.path().join(image);
            let check = Command::new(&qemu_img).arg("check").arg(&path).output();
            let check = check.expect("it starts");
            let found = String::from_utf8_lossy(&check.stdout).into_owned();
            assert!(check.status.success(), "{image}: {found}");
            let raw = path.with_extension("raw");
            let converted = Command::new(&qemu_img)
                .args(["convert", "-O", "raw"])
                .args([&path, &raw])
                .status();
            assert!(converted.expect("it starts").success(), "{image}");
            std::fs::read(raw).expect("converted")
        };
        assert!(contents(&mine) == contents(&other), "{image}");
    }
}
