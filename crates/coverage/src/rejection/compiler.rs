//! What the compiler says about programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use serde::Deserialize;

use super::program::Program;
use crate::{ReadError, workspace};

/// Something that the compiler said.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Diagnostic {
    /// The first line.
    pub message: String,
    /// `E0308`; some errors have none.
    pub code: Option<Code>,
    /// `error`, `warning`, `note`.
    pub level: String,
    /// Where.
    pub spans: Vec<Span>,
    /// What it adds.
    pub children: Vec<Diagnostic>,
    /// As it is printed; additions have none.
    pub rendered: Option<String>,
}

/// The code of an error.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Code {
    /// `E0308`.
    pub code: String,
}

/// A place in a program.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Span {
    /// The file, from the root of the package if it is in it.
    pub file_name: String,
    /// From 1.
    pub line_start: usize,
    /// It is where the error is.
    pub is_primary: bool,
    /// What is said there.
    pub label: Option<String>,
    /// The lines.
    pub text: Vec<Line>,
}

/// A line of a program, or a part of it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Line {
    /// All of it.
    pub text: String,
    /// The first character that is meant, from 1.
    pub highlight_start: usize,
    /// The first that is not.
    pub highlight_end: usize,
}

impl Line {
    /// What is meant of it.
    pub fn highlighted(&self) -> String {
        let skipped = self.highlight_start.saturating_sub(1);
        let count = self.highlight_end.saturating_sub(self.highlight_start);
        self.text.chars().skip(skipped).take(count).collect()
    }
}

impl Diagnostic {
    /// Where the error is.
    pub fn primary(&self) -> Option<&Span> {
        self.spans.iter().find(|span| span.is_primary)
    }

    /// Whether it is an error, and not the one that says that there were some.
    fn is_error(&self) -> bool {
        let is_sum = self.spans.is_empty() && self.message.starts_with("aborting due to");
        self.level == "error" && !is_sum
    }

    /// The code, or nothing.
    pub fn code(&self) -> &str {
        self.code.as_ref().map_or("", |code| &code.code)
    }

    /// All words of the compiler, without the source that it quotes.
    pub fn words(&self) -> String {
        let mut words = vec![self.message.clone()];
        words.extend(self.spans.iter().filter_map(|span| span.label.clone()));
        words.extend(self.children.iter().map(Diagnostic::words));
        words.join("\n")
    }
}

/// What it said about some programs.
#[derive(Clone, Default, Debug)]
pub struct Said {
    /// The errors, by program.
    pub errors: BTreeMap<String, Vec<Diagnostic>>,
    /// The programs that compile.
    pub compiled: BTreeSet<String>,
}

/// A line of what cargo prints.
#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    message: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// What the programs are built of.
const DEPENDENCIES: [(&str, &str); 6] = [
    ("block-drivers", "crates/block-drivers"),
    ("block-gs", "crates/block-gs"),
    ("block-io", "crates/block-io"),
    ("block-jobs", "crates/block-jobs"),
    ("block-open", "crates/block-open"),
    ("ui-tests", "ui-tests"),
];

/// Writes the programs as a package of their own, named like the directory and
/// with the versions that the workspace has.
///
/// # Errors
/// [`ReadError::File`].
pub fn write(programs: &[Program], directory: &Path) -> Result<(), ReadError> {
    let sources = directory.join("src");
    fs::create_dir_all(&sources).map_err(|error| ReadError::File {
        path: sources.clone(),
        error,
    })?;
    // Packages of one name would take each other's outcomes for their own where
    // they share what is built.
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let is_fit = |c: &char| c.is_ascii_alphanumeric() || "-_".contains(*c);
    let name: String = name.chars().filter(is_fit).collect();
    let mut manifest = MANIFEST.replace("NAME", &format!("programs-{name}"));
    for (name, path) in DEPENDENCIES {
        let path = workspace().join(path);
        let _ = writeln!(manifest, "{name} = {{ path = {path:?} }}");
    }
    for program in programs {
        let name = &program.name;
        let _ = writeln!(
            manifest,
            "\n[[bin]]\nname = {name:?}\npath = \"src/{name}.rs\""
        );
        put(&sources.join(format!("{name}.rs")), &program.text)?;
    }
    put(&directory.join("Cargo.toml"), &manifest)?;
    let lock = workspace().join("Cargo.lock");
    match fs::read_to_string(&lock) {
        Ok(text) => put(&directory.join("Cargo.lock"), &text),
        Err(error) => Err(ReadError::File { path: lock, error }),
    }
}

const MANIFEST: &str = "\
[package]
name = \"NAME\"
version = \"0.0.0\"
edition = \"2024\"
publish = false

[workspace]

[profile.dev]
debug = false

[dependencies]
";

/// Writes a file, unless it is there already.
fn put(path: &Path, text: &str) -> Result<(), ReadError> {
    match fs::read_to_string(path) {
        Ok(old) if old == text => Ok(()),
        _ => fs::write(path, text).map_err(|error| ReadError::File {
            path: path.to_owned(),
            error,
        }),
    }
}

/// Writes the programs to a directory and lets the compiler check all of them;
/// what it makes goes to `target`.
///
/// # Errors
/// [`ReadError`]; [`ReadError::Compiler`] when it did not come to them.
pub fn check(programs: &[Program], directory: &Path, target: &Path) -> Result<Said, ReadError> {
    write(programs, directory)?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "check",
            "--offline",
            "--keep-going",
            "--message-format=json",
        ])
        .arg("--manifest-path")
        .arg(directory.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        // There the toolchain is pinned.
        .current_dir(workspace())
        .output()
        .map_err(|error| ReadError::Compiler(error.to_string()))?;
    let said = Said::parse(&String::from_utf8_lossy(&output.stdout))?;
    let came_to = |program: &Program| {
        said.compiled.contains(&program.name) || said.errors.contains_key(&program.name)
    };
    match programs.iter().find(|program| !came_to(program)) {
        Some(program) => Err(ReadError::Compiler(format!(
            "nothing is said about {}: {}",
            program.name,
            String::from_utf8_lossy(&output.stderr)
        ))),
        None => Ok(said),
    }
}

impl Said {
    /// Reads what cargo printed. Targets of other packages are not told apart:
    /// an error in one of them stands in the way of all.
    ///
    /// # Errors
    /// [`ReadError::Compiler`] for a line that is none of its messages.
    pub fn parse(stdout: &str) -> Result<Said, ReadError> {
        let mut said = Said::default();
        for line in stdout.lines() {
            let message: Message = serde_json::from_str(line)
                .map_err(|error| ReadError::Compiler(format!("{error}: {line}")))?;
            let Some(target) = message.target else {
                continue;
            };
            match (message.reason.as_str(), message.message) {
                ("compiler-artifact", _) => {
                    said.compiled.insert(target.name);
                }
                (_, Some(diagnostic)) if diagnostic.is_error() => {
                    said.errors.entry(target.name).or_default().push(diagnostic);
                }
                _ => {}
            }
        }
        Ok(said)
    }
}
