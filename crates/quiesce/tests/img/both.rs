//! Running a line on both tools.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use test_support::{Tool, assert_alike, pattern};

use crate::lines::Line;

/// A directory with images, and the tool by its name.
pub struct Place {
    images: TempDir,
    tool: TempDir,
}

impl Place {
    /// Where `program` is the tool.
    pub fn new(program: &Path) -> Place {
        let place = Place {
            images: TempDir::new().expect("a directory"),
            tool: TempDir::new().expect("a directory"),
        };
        symlink(program, place.tool.path().join("qemu-img")).expect("linked");
        let mut bytes = vec![0; 1 << 20];
        bytes[70_000..70_005].copy_from_slice(b"hello");
        bytes[300_000..340_000].copy_from_slice(&pattern(40_000, 2));
        place.write("a", &bytes);
        place.write("b", &bytes);
        bytes[500_000] = 7;
        place.write("c", &bytes);
        place.write("odd", &[b'x'; 1501]);
        place.write("empty", b"");
        place.write("small", &[0; 4096]);
        place.write("big", &[1; 3 << 20]);
        fs::create_dir(place.path("dir")).expect("made");
        let mut sparse = File::create(place.path("sparse")).expect("made");
        sparse.set_len(4 << 20).expect("longer");
        sparse.seek(SeekFrom::Start(1 << 20)).expect("there");
        sparse.write_all(&[b'y'; 8192]).expect("written");
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.images.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("written");
    }

    /// Runs a line, and says what came of it.
    pub fn run(&self, line: &[&str]) -> Output {
        self.run_in(self.tool.path(), line)
    }

    /// As [`run`](Place::run), with this `qemu-img`.
    pub fn run_by(&self, program: &Path, line: &[&str]) -> Output {
        self.run_in(program.parent().expect("a path"), line)
    }

    fn run_in(&self, tool: &Path, line: &[&str]) -> Output {
        // By its name alone, because that is in what it says.
        let mut path = OsString::from(tool);
        path.push(":/usr/bin:/bin");
        let mut command = Command::new("qemu-img");
        command.env("PATH", path).env("TZ", "UTC");
        command.current_dir(self.images.path()).args(line);
        command.stdin(Stdio::null()).output().expect("it starts")
    }

    /// What is in all files.
    fn files(&self) -> BTreeMap<OsString, Vec<u8>> {
        let entries = fs::read_dir(self.images.path()).expect("there");
        let files = entries.map(|entry| entry.expect("there"));
        let files = files.filter(|entry| entry.path().is_file());
        files
            .map(|entry| (entry.file_name(), fs::read(entry.path()).expect("readable")))
            .collect()
    }
}

/// The program here.
pub fn ours() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_quiesce"))
}

/// QEMU's, if there is one.
pub fn theirs() -> Option<PathBuf> {
    let tool = Tool::find("qemu-img")?;
    Some(tool.path().to_owned())
}

/// Without what differs from run to run: times, and numbers of nodes.
pub fn timeless(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let mut kept = String::new();
    let mut rest = &*text;
    while let Some(at) = ["Run completed in ", "#block"]
        .iter()
        .filter_map(|mark| rest.find(mark).map(|at| at + mark.len()))
        .min()
    {
        kept.push_str(&rest[..at]);
        rest =
            rest[at..].trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    }
    kept + rest
}

/// Runs each line on both, and compares what they say and do.
pub fn compare(lines: &[Line]) {
    let Some(theirs) = theirs() else {
        return;
    };
    for line in lines {
        let (mine, other) = (Place::new(ours()), Place::new(&theirs));
        let (found, expected) = (mine.run(line), other.run(line));
        assert_alike(&found, &expected, timeless, line);
        let (files, others) = (mine.files(), other.files());
        for name in files.keys().chain(others.keys()) {
            assert!(
                files.get(name) == others.get(name),
                "{line:?}: {name:?} differs"
            );
        }
    }
}
