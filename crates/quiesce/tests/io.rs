//! `quiesce io`, as a user runs it, and beside `qemu-io`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use test_support::{Tool, assert_alike};

/// An image with five bytes that are not zero, in a directory of its own.
struct Image {
    directory: TempDir,
}

impl Image {
    fn new() -> Image {
        let directory = TempDir::new().expect("a directory");
        let image = Image { directory };
        let mut bytes = vec![0; 1 << 20];
        bytes[70_000..70_005].copy_from_slice(b"hello");
        fs::write(image.path(), bytes).expect("written");
        image
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    /// Runs `program`, with the image's name where a line says `IMAGE`.
    fn run(&self, program: &Path, line: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path());
        command.args(line.iter().map(|word| word.replace("IMAGE", "image")));
        command.stdin(Stdio::null());
        command.output().expect("it starts")
    }
}

/// A link by which the program is a `qemu-io`.
fn ours(directory: &TempDir) -> PathBuf {
    let link = directory.path().join("qemu-io");
    if !link.exists() {
        symlink(env!("CARGO_BIN_EXE_quiesce"), &link).expect("linked");
    }
    link
}

/// Without what differs from run to run: times and rates.
fn timeless(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    let strip = |line: &str| match (line.find(" ops; "), line.split_once(",0:00:")) {
        (Some(end), _) => line[..end].to_owned(),
        (None, Some((counts, _))) => counts.to_owned(),
        (None, None) => line.to_owned(),
    };
    text.lines().map(strip).collect()
}

/// Lines that both must answer alike.
const LINES: &[&[&str]] = &[
    &["-f", "raw", "-c", "read 0", "IMAGE"],
    &["-f", "raw", "-c", "read a 512", "IMAGE"],
    &["-f", "raw", "-c", "read -v 69990 20", "IMAGE"],
    &["-f", "raw", "-c", "read -P 1 0 512", "IMAGE"],
    &["-f", "raw", "-c", "read -P 0x1ff 0 1", "IMAGE"],
    &["-f", "raw", "-c", "read -z 0 1", "IMAGE"],
    &["-f", "raw", "-c", "foo", "IMAGE"],
    &[
        "-f",
        "raw",
        "-c",
        "write -P 5 0 1k",
        "-c",
        "read -v -P 5 0 32",
        "IMAGE",
    ],
    &["-f", "raw", "-c", "read -C 0 512", "IMAGE"],
    &[
        "-f",
        "raw",
        "-c",
        "write -z -u 0 64k",
        "-c",
        "write -z -P 1 0 512",
        "-c",
        "write -n 0 512",
        "-c",
        "write -u 0 512",
        "IMAGE",
    ],
    &["-f", "raw", "-c", "write -c 0 64k", "IMAGE"],
    &["-f", "raw", "-c", "write -b 0 64k", "IMAGE"],
    &["-f", "raw", "-c", "read -b 0 64k", "IMAGE"],
    &["-f", "raw", "-c", "write -s /nonex 0 512", "IMAGE"],
    &[
        "-f",
        "raw",
        "-c",
        "read -P 5 -s 10 -l 20 0 10",
        "-c",
        "read -s 1 0 10",
        "-c",
        "read 0 3g",
        "-c",
        "read 1M 512",
        "-c",
        "write 1M 512",
        "-c",
        "read -1 512",
        "-c",
        "write 2k 3",
        "-c",
        "readv 0 512 1k",
        "-c",
        "readv -v 0 5 6",
        "IMAGE",
    ],
    &[
        "-f",
        "raw",
        "-c",
        "writev -P 7 0 1k 1k",
        "-c",
        "aio_read 0 512",
        "-c",
        "aio_flush",
        "-c",
        "aio_write -P 1 0 512",
        "-c",
        "aio_flush",
        "-c",
        "aio_read -i 0 512",
        "-c",
        "aio_write -i 0 512",
        "-c",
        "flush",
        "IMAGE",
    ],
    &[
        "-f",
        "raw",
        "-c",
        "discard 0 64k",
        "-c",
        "discard -C 0 64k",
        "-c",
        "discard 0",
        "-c",
        "map",
        "IMAGE",
    ],
    &[
        "-f",
        "raw",
        "-c",
        "truncate 2M",
        "-c",
        "length",
        "-c",
        "truncate -m foo 2M",
        "-c",
        "truncate a",
        "-c",
        "truncate -m full 3M",
        "-c",
        "length",
        "-c",
        "map",
        "IMAGE",
    ],
    &[
        "-f",
        "raw",
        "-c",
        "alloc 0",
        "-c",
        "alloc 0 1M",
        "-c",
        "alloc 64k 512",
        "-c",
        "alloc 65537",
        "-c",
        "alloc 9M 512",
        "-c",
        "alloc a",
        "IMAGE",
    ],
    &["-f", "raw", "-c", "info", "IMAGE"],
    &["-f", "raw", "-c", "close", "-c", "read 0 512", "IMAGE"],
    &[
        "-f",
        "raw",
        "-c",
        "close",
        "-c",
        "open -o driver=raw t.raw",
        "-c",
        "length",
        "IMAGE",
    ],
    &["-f", "raw", "-c", "open t.raw", "IMAGE"],
    &[
        "-f",
        "raw",
        "-c",
        "sleep 10",
        "-c",
        "sleep a",
        "-c",
        "sleep",
        "-c",
        "break foo a",
        "-c",
        "resume a",
        "-c",
        "remove_break a",
        "IMAGE",
    ],
    &["-f", "raw", "-c", "quit", "-c", "foo", "IMAGE"],
    &["-f", "raw", "-c", "help foo", "IMAGE"],
    &["-f", "raw", "-c", "zone_report 0 1", "IMAGE"],
    &["-f", "raw", "-c", "length x", "IMAGE"],
    &["-f", "raw", "-c", "sigraise 15", "IMAGE"],
    &["-f", "raw", "-c", "sigraise a", "IMAGE"],
    &["-c", "length"],
    &["nonex", "-f", "raw", "-c", "read 0 1"],
    &["-f", "foo", "IMAGE", "-c", "read 0 1"],
    &["-t", "foo", "IMAGE"],
    &["-d", "foo", "IMAGE"],
    &["-i", "foo", "IMAGE"],
    &["--image-opts", "-f", "raw", "driver=raw"],
    &["-r", "-f", "raw", "IMAGE", "-c", "write 0 512"],
    &["-U", "-f", "raw", "-c", "length", "IMAGE"],
    &["-r", "-U", "-f", "raw", "-c", "length", "IMAGE"],
    &[
        "-f",
        "raw",
        "-t",
        "none",
        "-c",
        "read 0 512",
        "-c",
        "write 512 512",
        "IMAGE",
    ],
    &[
        "-f",
        "raw",
        "-t",
        "writeback",
        "-c",
        "write 512 512",
        "IMAGE",
    ],
    &["-f", "raw", "-n", "-k", "-c", "read 0 512", "IMAGE"],
    &["-f", "raw", "-i", "io_uring", "-c", "read 0 512", "IMAGE"],
    &["-f", "raw", "-i", "threads", "-c", "read 0 512", "IMAGE"],
    &["-f", "raw", "-m", "-c", "read -v 0 16", "IMAGE"],
    &["-f", "raw", "-C", "-c", "read -v 0 16", "IMAGE"],
    &[
        "--image-opts",
        "-c",
        "read -v 0 32",
        "driver=null-co,read-zeroes=on",
    ],
    &[
        "--image-opts",
        "-c",
        "info",
        "driver=null-co,read-zeroes=on",
    ],
    &[
        "-f",
        "raw",
        "-c",
        "write -q 0 512",
        "-c",
        "read -q 0 1",
        "-c",
        "writev 0 -5",
        "-c",
        "writev 0 a",
        "-c",
        "aio_read 9M 512",
        "-c",
        "aio_flush",
        "-c",
        "aio_write 9M 512",
        "-c",
        "aio_flush",
        "-c",
        "write -z 9M 64k",
        "-c",
        "flush -x",
        "-c",
        "discard 9M 512",
        "IMAGE",
    ],
    &[
        "-f",
        "raw",
        "-c",
        "writev 0 1k 3g",
        "-c",
        "writev 0 2147483136 1k",
        "-c",
        "write -b 1 512",
        "-c",
        "write -c 1 512",
        "-c",
        "write -f -c 0 512",
        "-c",
        "write -b -z 0 512",
        "-c",
        "aio_write -z 0 512 512",
        "-c",
        "aio_write -u 0 512",
        "IMAGE",
    ],
    &[
        "-f",
        "raw",
        "-c",
        "reopen -r",
        "-c",
        "write 0 512",
        "-c",
        "reopen -w",
        "-c",
        "write 0 512",
        "IMAGE",
    ],
    &[
        "-f",
        "raw",
        "-c",
        "reopen -r -w",
        "-c",
        "reopen -o read-only=on -r",
        "-c",
        "reopen x",
        "-c",
        "reopen -c foo",
        "-c",
        "reopen -c none -o cache.direct=on",
        "-c",
        "reopen -o foo=on",
        "IMAGE",
    ],
    &[
        "-f",
        "raw",
        "-c",
        "reopen -c none",
        "-c",
        "write 0 512",
        "-c",
        "reopen -c writeback",
        "-c",
        "read -P 0xcd 0 512",
        "IMAGE",
    ],
];

#[test]
fn it_says_and_does_what_qemu_io_does() {
    let Some(theirs) = Tool::find("qemu-io") else {
        return;
    };
    for line in LINES {
        let (mine, other) = (Image::new(), Image::new());
        let found = mine.run(&ours(&mine.directory), line);
        let expected = other.run(theirs.path(), line);
        assert_alike(&found, &expected, timeless, line);
        let read = |image: &Image| fs::read(image.path()).expect("there");
        assert!(read(&mine) == read(&other), "{line:?} leaves another image");
    }
}

#[test]
fn it_is_a_subcommand_too() {
    let image = Image::new();
    let program = Path::new(env!("CARGO_BIN_EXE_quiesce"));
    let output = image.run(
        program,
        &["io", "-f", "raw", "-c", "read -v 70000 5", "IMAGE"],
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.starts_with("00011170:  68 65 6c 6c 6f  hello\n"),
        "{text}"
    );
    let help = image.run(program, &["io", "--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("Examples:"));
    let help = image.run(program, &["io", "-c", "help write"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("zeroes, without sending them"));
}

#[test]
fn a_breakpoint_holds_a_write_until_resume() {
    let image = Image::new();
    let line = [
        "-f",
        "raw",
        "-c",
        "break pwritev A",
        "-c",
        "aio_write 0 512",
        "-c",
        "wait_break A",
        "-c",
        "read -q 1k 512",
        "-c",
        "resume A",
        "-c",
        "aio_flush",
        "blkdebug::IMAGE",
    ];
    let output = image.run(&ours(&image.directory), &line);
    assert_eq!(
        timeless(&output.stdout),
        [
            "blkdebug: Suspended request 'A'",
            "blkdebug: Resuming request 'A'",
            "wrote 512/512 bytes at offset 0",
            "512 bytes, 1",
        ]
    );
    assert!(output.status.success());
}
