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

    /// Seconds.
    fn cargo(&self, words: &[&str], package: &str) -> Result<f64, Failure> {
        let mut command = Command::new(&self.cargo);
        command
            .args(words)
            .args(["-q", "--offline", "-p", package])
            .current_dir(self.directory.path())
            .env("CARGO_TARGET_DIR", self.directory.path().join("target"));
        let start = Instant::now();
        tools::succeed(&mut command)?;
        Ok(start.elapsed().as_secs_f64())
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
    ) -> Result<f64, Failure> {
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
             `()` and numbers in their place. In seconds, cargo's own included, the least of the \
             runs; the crates took turns. What they depend on was built before.",
            &["what", "with proofs", "without", "times", "difference in s"],
        );
        for (words, change, about) in ROWS {
            self.options.say(&format!("compile-time: {about}"));
            let mut least = [f64::INFINITY; 2];
            for round in 0..self.rounds() {
                for (least, package) in least.iter_mut().zip(PACKAGES) {
                    *least = least.min(self.run(package, words, change, round)?);
                }
            }
            let [with, without] = least;
            table.row(vec![
                about.into(),
                Cell::figure(with, 2),
                Cell::figure(without, 2),
                Cell::ratio(with, without),
                Cell::figure(with - without, 2),
            ]);
        }
        Ok(table)
    }

    /// For scale.
    fn block_layer(&self) -> Result<Table, Failure> {
        let mut table = Table::new(
            "Compiling the block layer",
            "For scale: each crate alone, from the beginning, in seconds.",
            &["crate", "check", "build", "release build"],
        );
        for package in ["block-io", "block-gs"] {
            self.options.say(&format!("compile-time: {package}"));
            let mut row = vec![package.into()];
            for words in COMMANDS {
                let mut least = f64::INFINITY;
                for _ in 0..self.rounds() {
                    self.clean(words, package)?;
                    least = least.min(self.cargo(words, package)?);
                }
                row.push(Cell::figure(least, 2));
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
