//! Whole images: made, checked, converted and compared, beside QEMU's tool and
//! `cp`.
//!
//! Each is a process of its own, from its start to its end, on all the CPUs
//! there are: these are programs that people wait for, and they have threads.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::callgrind;
use crate::cli::Options;
use crate::contest::{Contestant, Time, contest_everywhere};
use crate::error::Failure;
use crate::qcow2::{directory, name};
use crate::report::{Cell, Table};
use crate::tools::{self, CP, QEMU_IMG};

/// The section.
///
/// # Errors
/// When a contestant fails, or is missing.
pub fn measure(options: &Options, found: &mut dyn FnMut(Table)) -> Result<(), Failure> {
    let mut table = Table::new(
        "Whole images",
        "Whole processes, in ms, on all CPUs: `quiesce img` and `qemu-img` with the same arguments, \
         and `cp` of a file with the same data. Images of 1 GiB, those that are compressed of \
         128 MiB of data that shrinks to half; clusters of 64 KiB; in the page cache, and targets \
         are not made durable. Instructions in millions, outside the kernel.",
        &[
            "what",
            "file on",
            "instructions",
            "QEMU",
            "part of QEMU's",
            "ms",
            "QEMU",
            "part of QEMU's",
            "`cp`",
        ],
    );
    for (place, parent) in [("memory", &options.tmpfs), ("disk", &options.dir)] {
        let images = Images::create(options, parent)?;
        for task in &TASKS {
            options.say(&format!("images: {}, {place}", task.name));
            let profile = place == "memory" && task.is_counted;
            let row = images.compare(options, task, profile)?;
            let first = [task.name.into(), place.into()];
            table.row(first.into_iter().chain(row).collect());
        }
    }
    found(table);
    Ok(())
}

/// What is done. `raw`, `full`, `text` and `packed` in the arguments stand for
/// images that are there, `new` for one that is not.
struct Task {
    name: &'static str,
    arguments: &'static [&'static str],
    /// Which file `cp` copies for comparison.
    copied: Option<&'static str>,
    /// Whether instructions are counted: that takes fifty times as long, and
    /// callgrind does not let others run while a loop waits on its io_uring.
    is_counted: bool,
}

const QUICK: Task = Task {
    name: "",
    arguments: &[],
    copied: None,
    is_counted: true,
};

const LONG: Task = Task {
    is_counted: false,
    ..QUICK
};

const TASKS: [Task; 11] = [
    Task {
        name: "create",
        arguments: &["create", "-q", "-f", "qcow2", "new", "1G"],
        ..LONG
    },
    Task {
        name: "create, with metadata preallocated",
        arguments: &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "preallocation=metadata",
            "new",
            "1G",
        ],
        ..LONG
    },
    Task {
        name: "info",
        arguments: &["info", "full"],
        ..QUICK
    },
    Task {
        name: "check of a full image",
        arguments: &["check", "-q", "-f", "qcow2", "full"],
        ..QUICK
    },
    Task {
        name: "map of a full image",
        arguments: &["map", "--output=json", "-f", "qcow2", "full"],
        ..QUICK
    },
    Task {
        name: "convert raw to qcow2",
        arguments: &["convert", "-f", "raw", "-O", "qcow2", "raw", "new"],
        copied: Some("raw"),
        ..LONG
    },
    Task {
        name: "convert qcow2 to raw",
        arguments: &["convert", "-f", "qcow2", "-O", "raw", "full", "new"],
        copied: Some("raw"),
        ..LONG
    },
    Task {
        name: "convert qcow2 to qcow2",
        arguments: &["convert", "-f", "qcow2", "-O", "qcow2", "full", "new"],
        copied: Some("full"),
        ..LONG
    },
    Task {
        name: "convert raw to compressed qcow2",
        arguments: &["convert", "-c", "-f", "raw", "-O", "qcow2", "text", "new"],
        ..LONG
    },
    Task {
        name: "convert compressed qcow2 to raw",
        arguments: &["convert", "-f", "qcow2", "-O", "raw", "packed", "new"],
        ..LONG
    },
    Task {
        name: "compare qcow2 with raw",
        arguments: &["compare", "-q", "-f", "qcow2", "-F", "raw", "full", "raw"],
        ..LONG
    },
];

/// Images for everybody.
struct Images {
    directory: TempDir,
}

impl Images {
    fn create(options: &Options, parent: &Path) -> Result<Images, Failure> {
        let images = Images {
            directory: directory(parent)?,
        };
        let (size, less) = match options.quick {
            true => (8 << 20, 1 << 20),
            false => (1 << 30, 128 << 20),
        };
        fill(&images.path("raw"), size, 8)?;
        fill(&images.path("text"), less, 2)?;
        images.convert(&["-O", "qcow2"], "raw", "full")?;
        images.convert(&["-c", "-O", "qcow2"], "text", "packed")?;
        Ok(images)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn convert(&self, how: &[&str], from: &str, to: &str) -> Result<(), Failure> {
        let mut command = Command::new(QEMU_IMG.path()?);
        command.args(["convert", "-f", "raw"]).args(how);
        command.arg(self.path(from)).arg(self.path(to));
        tools::succeed(&mut command).map(drop)
    }

    /// The cells of a row.
    fn compare(&self, options: &Options, task: &Task, profile: bool) -> Result<Vec<Cell>, Failure> {
        let is_file = |word: &str| ["raw", "full", "text", "packed", "new"].contains(&word);
        let mut words = Vec::new();
        for (at, word) in task.arguments.iter().enumerate() {
            let after_option = at > 0 && ["-f", "-F", "-O", "-o"].contains(&task.arguments[at - 1]);
            words.push(match is_file(word) && !after_option {
                true => name(&self.path(word))?.to_owned(),
                false => (*word).to_owned(),
            });
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut contestants = vec![
            Contestant::whole_work(&[&["img", "--"], &words[..]].concat())?,
            Contestant::whole(QEMU_IMG.path()?, &words),
        ];
        if let Some(copied) = task.copied {
            let (from, to) = (self.path(copied), self.path("new"));
            contestants.push(Contestant::whole(CP.path()?, &[name(&from)?, name(&to)?]));
        }
        let new = self.path("new");
        let contestants: Vec<_> = contestants
            .into_iter()
            .map(|each| each.on_nothing(&new).with_helpers())
            .collect();
        let times = contest_everywhere(options, &contestants)?;
        let mut cells = vec![Cell::None, Cell::None, Cell::None];
        if profile {
            let ours = callgrind::count_once(&contestants[0])? / 1e6;
            let qemu = callgrind::count_once(&contestants[1])? / 1e6;
            cells = vec![
                Cell::figure(ours, 1),
                Cell::figure(qemu, 1),
                Cell::figure(ours / qemu, 3),
            ];
        }
        contestants[0].prepare()?;
        cells.extend([
            times[0].cell_ms(),
            times[1].cell_ms(),
            times[0].ratio(times[1]),
            times.get(2).copied().map_or(Cell::None, Time::cell_ms),
        ]);
        Ok(cells)
    }
}

/// Writes a file of `bytes` bytes that packs to about one part in `parts` less
/// than all, or for 2 to half.
fn fill(path: &Path, bytes: u64, parts: u64) -> Result<(), Failure> {
    let failed = |error| Failure::File {
        path: path.to_owned(),
        error,
    };
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed)?);
    let mut state = 1_u64;
    for number in 0..bytes / 8 {
        // Rows of 512 bytes that repeat, between others that do not.
        let repeats = (number / 64).is_multiple_of(parts);
        if !repeats {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        let word = if repeats {
            0x2e2e_2e2e_2e2e_2e2e
        } else {
            state
        };
        file.write_all(&word.to_le_bytes()).map_err(failed)?;
    }
    file.flush().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_data_that_repeats_and_such_that_does_not() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("file");
        fill(&path, 4096, 2).expect("written");
        let bytes = std::fs::read(&path).expect("read");
        assert_eq!(bytes.len(), 4096);
        assert!(bytes[..512].iter().all(|byte| *byte == b'.'));
        assert!(bytes[512..1024].iter().any(|byte| *byte != b'.'));
        assert!(bytes[1024..1536].iter().all(|byte| *byte == b'.'));
    }
}
