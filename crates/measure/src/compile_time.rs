//! How long the compiler takes for proofs: for a generated crate, with proofs
//! and without.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::cli::Options;
use crate::error::Failure;
use crate::generator::{self, Edits, Signatures};
use crate::report::{Cell, Table};
use crate::signatures::workspace;
use crate::tools::{self, CARGO};

/// The section.
///
/// # Errors
/// When cargo fails or is missing, or there is no room for the crates.
pub fn measure(options: &Options, found: &mut dyn FnMut(Table)) -> Result<(), Failure> {
    let crates = Crates::new(options)?;
    for command in COMMANDS {
        options.say(&format!(
            "compile-time: what `{}` needs first",
            command.join(" ")
        ));
        for (package, _) in PACKAGES {
            crates.cargo(command, package)?;
        }
    }
    found(crates.compare()?);
    found(crates.block_layer()?);
    Ok(())
}

/// The generated crates.
const PACKAGES: [(&str, Signatures); 2] = [
    ("with-proofs", Signatures::Proofs),
    ("without-proofs", Signatures::Plain),
];

const CHECK: &[&str] = &["check"];
const BUILD: &[&str] = &["build"];
const RELEASE: &[&str] = &["build", "--release"];
const COMMANDS: [&[&str]; 3] = [CHECK, BUILD, RELEASE];

/// What is timed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    Nothing,
    Everything,
    Body,
    Signature,
}

const ROWS: [(&[&str], Change, &str); 8] = [
    (CHECK, Change::Nothing, "check, nothing changed"),
    (CHECK, Change::Everything, "check, from the beginning"),
    (CHECK, Change::Body, "check, a body changed"),
    (CHECK, Change::Signature, "check, a signature changed"),
    (BUILD, Change::Everything, "build, from the beginning"),
    (BUILD, Change::Body, "build, a body changed"),
    (BUILD, Change::Signature, "build, a signature changed"),
    (
        RELEASE,
        Change::Everything,
        "release build, from the beginning",
    ),
];

/// Seconds.
#[derive(Clone, Copy, Debug)]
struct Spent {
    elapsed: f64,
    /// Of all processes and threads, which does not depend on who else has
    /// the CPUs.
    cpu: f64,
}

impl Spent {
    const MOST: Spent = Spent {
        elapsed: f64::INFINITY,
        cpu: f64::INFINITY,
    };

    fn least(self, other: Spent) -> Spent {
        Spent {
            elapsed: self.elapsed.min(other.elapsed),
            cpu: self.cpu.min(other.cpu),
        }
    }
}

/// The CPU time of this program's children that have ended, and of theirs.
fn cpu_of_children() -> Result<f64, Failure> {
    let path = Path::new("/proc/self/stat");
    let text = fs::read_to_string(path).map_err(|error| Failure::File {
        path: path.to_owned(),
        error,
    })?;
    cpu_in(&text)
        .map(|ticks| ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
        .ok_or(Failure::NoFigure {
            command: path.display().to_string(),
            what: "CPU time",
        })
}

/// `cutime` and `cstime`, in ticks. The name of the program, in parentheses,
/// may have any characters.
fn cpu_in(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(13);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(ticks()? + ticks()?)
}

/// A workspace with the generated crates.
struct Crates<'o> {
    options: &'o Options,
    directory: tempfile::TempDir,
    cargo: PathBuf,
}

impl<'o> Crates<'o> {
    fn new(options: &'o Options) -> Result<Crates<'o>, Failure> {
        let cargo = CARGO.path()?;
        let directory = tempfile::tempdir().map_err(Failure::system("a temporary directory"))?;
        let crates = Crates {
            options,
            directory,
            cargo,
        };
        crates.write(
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"*-proofs\"]\n",
        )?;
        // The same versions as here, and none that has to be fetched.
        let lock = workspace().join("Cargo.lock");
        let text =
            fs::read_to_string(&lock).map_err(|error| Failure::File { path: lock, error })?;
        crates.write("Cargo.lock", &text)?;
        for (package, signatures) in PACKAGES {
            crates.write(&format!("{package}/Cargo.toml"), &manifest(package))?;
            crates.generate(package, signatures, Edits::default())?;
        }
        Ok(crates)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.directory.path().join(name);
        let parent = path.parent().unwrap_or(&path);
        let written = fs::create_dir_all(parent).and_then(|()| fs::write(&path, text));
        written.map_err(|error| Failure::File { path, error })
    }

    fn generate(&self, package: &str, signatures: Signatures, edits: Edits) -> Result<(), Failure> {
        let part = if self.options.quick { 10 } else { 1 };
        let text = generator::source(signatures, edits, part);
        self.write(&format!("{package}/src/lib.rs"), &text)
    }

    fn cargo(&self, words: &[&str], package: &str) -> Result<Spent, Failure> {
        let mut command = Command::new(&self.cargo);
        command
            .args(words)
            .args(["-q", "--offline", "-p", package])
            .current_dir(self.directory.path())
            .env("CARGO_TARGET_DIR", self.directory.path().join("target"));
        let (start, before) = (Instant::now(), cpu_of_children()?);
        tools::succeed(&mut command)?;
        Ok(Spent {
            elapsed: start.elapsed().as_secs_f64(),
            cpu: cpu_of_children()? - before,
        })
    }

    fn clean(&self, words: &[&str], package: &str) -> Result<(), Failure> {
        let profile = if words == RELEASE { "release" } else { "dev" };
        self.cargo(&["clean", "--profile", profile], package)?;
        Ok(())
    }

    fn run(
        &self,
        (package, signatures): (&str, Signatures),
        words: &[&str],
        change: Change,
        round: u32,
    ) -> Result<Spent, Failure> {
        let mut edits = Edits::default();
        self.generate(package, signatures, edits)?;
        self.cargo(words, package)?;
        match change {
            Change::Nothing => {}
            Change::Everything => self.clean(words, package)?,
            Change::Body => edits.constant = u64::from(round) + 1,
            Change::Signature => edits.argument = true,
        }
        if edits != Edits::default() {
            self.generate(package, signatures, edits)?;
        }
        self.cargo(words, package)
    }

    fn rounds(&self) -> u32 {
        if self.options.quick {
            1
        } else {
            self.options.runs
        }
    }

    fn compare(&self) -> Result<Table, Failure> {
        let mut table = Table::new(
            "Compiling with and without proofs",
            "A generated crate of 790 functions, with the proofs in their signatures, and with \
             `()` and numbers in their place: seconds, and seconds of CPU time of all processes, \
             cargo's own included. The least of the runs; the crates took turns. What they depend \
             on was built before.",
            &[
                "what",
                "s, with proofs",
                "without",
                "times",
                "CPU s, with proofs",
                "without",
                "times",
            ],
        );
        for (words, change, about) in ROWS {
            self.options.say(&format!("compile-time: {about}"));
            let mut least = [Spent::MOST; 2];
            for round in 0..self.rounds() {
                for (least, package) in least.iter_mut().zip(PACKAGES) {
                    *least = least.least(self.run(package, words, change, round)?);
                }
            }
            let [with, without] = least;
            table.row(vec![
                about.into(),
                Cell::figure(with.elapsed, 2),
                Cell::figure(without.elapsed, 2),
                Cell::ratio(with.elapsed, without.elapsed),
                Cell::figure(with.cpu, 2),
                Cell::figure(without.cpu, 2),
                Cell::ratio(with.cpu, without.cpu),
            ]);
        }
        Ok(table)
    }

    /// For scale.
    fn block_layer(&self) -> Result<Table, Failure> {
        let mut table = Table::new(
            "Compiling the block layer",
            "For scale: each crate alone, from the beginning, in seconds of CPU time.",
            &["crate", "check", "build", "release build"],
        );
        for package in ["block-io", "block-gs"] {
            self.options.say(&format!("compile-time: {package}"));
            let mut row = vec![package.into()];
            for words in COMMANDS {
                let mut least = Spent::MOST;
                for _ in 0..self.rounds().min(2) {
                    self.clean(words, package)?;
                    least = least.least(self.cargo(words, package)?);
                }
                row.push(Cell::figure(least.cpu, 2));
            }
            table.row(row);
        }
        Ok(table)
    }
}

fn manifest(package: &str) -> String {
    let dependency = |name: &str| {
        let path: &Path = &workspace().join("crates").join(name);
        // As JSON: quotes and backslashes of a path are as in TOML.
        let path = serde_json::Value::from(path.to_string_lossy());
        format!("{name} = {{ path = {path} }}\n")
    };
    format!(
        "[package]\nname = \"{package}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\n{}{}",
        dependency("block-gs"),
        dependency("block-io"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_time_of_children_is_found() {
        let stat = "7 (a) b) R 1 7 7 0 -1 4194304 100 200 0 0 3 4 50 60 20 0 1 0";
        assert_eq!(cpu_in(stat), Some(110));
        assert_eq!(cpu_in("7 (a"), None);
        assert!(cpu_of_children().is_ok());
    }
}
