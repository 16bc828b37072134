//! How many instructions one request takes, and in which functions.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::cli::Options;
use crate::contest::Contestant;
use crate::error::Failure;
use crate::tools::{self, CALLGRIND_ANNOTATE, VALGRIND};

/// How often something is done in the two runs whose difference counts.
#[derive(Clone, Copy, Debug)]
pub struct Counts(pub u64, pub u64);

/// For requests.
pub const REQUESTS: Counts = Counts(1_280, 5_120);

/// What a contestant does each time.
#[derive(Clone, Debug)]
pub struct Instructions {
    /// How many.
    pub each: f64,
    /// The functions with most of them, with their own instructions.
    pub functions: Vec<(f64, String)>,
}

impl Instructions {
    /// The functions as lines: instructions, share, name.
    pub fn lines(&self) -> Vec<String> {
        let line = |(own, name): &(f64, String)| {
            format!("{own:9.1}  {:5.1} %  {name}", 100.0 * own / self.each)
        };
        self.functions.iter().map(line).collect()
    }
}

/// Counts the instructions of all threads outside the kernel, and if it is
/// asked for those of each function.
///
/// # Errors
/// [`Failure::NoTool`], or when a run fails.
pub fn count(
    options: &Options,
    contestant: &Contestant,
    counts: Counts,
    profile: bool,
) -> Result<Instructions, Failure> {
    let Counts(few, many) = match options.quick {
        true => Counts(200, 400),
        false => counts,
    };
    let directory = tempfile::tempdir().map_err(Failure::system("a temporary directory"))?;
    let (fewer, more) = (directory.path().join("few"), directory.path().join("many"));
    let before = run(contestant, few, &fewer, None)?;
    let after = run(contestant, many, &more, None)?;
    let each = |before: f64, after: f64| (after - before) / (many - few) as f64;

    if !profile {
        return Ok(Instructions {
            each: each(before, after),
            functions: Vec::new(),
        });
    }
    let (before_by_name, after_by_name) = (annotate(&fewer)?, annotate(&more)?);
    let mut functions: Vec<(f64, String)> = after_by_name
        .into_iter()
        .map(|(name, own)| {
            let before = before_by_name.get(&name).copied().unwrap_or(0.0);
            (each(before, own), name)
        })
        .collect();
    functions.sort_by(|a, b| b.0.total_cmp(&a.0));
    functions.truncate(10);
    Ok(Instructions {
        each: each(before, after),
        functions,
    })
}

/// Counts the instructions of one function and whatever it calls, for each of
/// its calls, of which there is one each time.
///
/// # Errors
/// [`Failure::NoTool`], or when a run fails.
pub fn count_inside(
    options: &Options,
    contestant: &Contestant,
    function: &str,
) -> Result<f64, Failure> {
    let count = if options.quick { 200 } else { 10_000 };
    let directory = tempfile::tempdir().map_err(Failure::system("a temporary directory"))?;
    let all = run(
        contestant,
        count,
        &directory.path().join("out"),
        Some(function),
    )?;
    Ok(all / count as f64)
}

/// Counts the instructions of all threads of a process that does something
/// once, outside the kernel.
///
/// # Errors
/// [`Failure::NoTool`], or when it fails.
pub fn count_once(contestant: &Contestant) -> Result<f64, Failure> {
    let directory = tempfile::tempdir().map_err(Failure::system("a temporary directory"))?;
    run(contestant, 1, &directory.path().join("out"), None)
}

fn run(
    contestant: &Contestant,
    count: u64,
    to: &Path,
    inside: Option<&str>,
) -> Result<f64, Failure> {
    let mut file = OsString::from("--callgrind-out-file=");
    file.push(to);
    contestant.prepare()?;
    let mut command = Command::new(VALGRIND.path()?);
    command
        .args(["-q", "--tool=callgrind"])
        .arg(file)
        .args(inside.map(|function| format!("--toggle-collect=*{function}*")))
        .args(contestant.words(count));
    tools::succeed(&mut command)?;
    let text = std::fs::read_to_string(to).map_err(|error| Failure::File {
        path: to.to_owned(),
        error,
    })?;
    total(&text).ok_or_else(|| Failure::NoFigure {
        command: tools::describe(&command),
        what: "number of instructions",
    })
}

/// The sum in the file that callgrind writes.
fn total(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
    line?.trim().parse().ok()
}

/// The own instructions of each function.
fn annotate(file: &Path) -> Result<HashMap<String, f64>, Failure> {
    let mut command = Command::new(CALLGRIND_ANNOTATE.path()?);
    command.args(["--threshold=100", "--auto=no"]).arg(file);
    let output = tools::succeed(&mut command)?;
    let mut functions = HashMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some((own, name)) = function(line) {
            *functions.entry(name).or_insert(0.0) += own;
        }
    }
    Ok(functions)
}

/// A line like `1,234 (5.0%)  dir/file.rs:path::of::function [/bin/program]`,
/// without the files: a function with parts from several has several lines.
fn function(line: &str) -> Option<(f64, String)> {
    let (own, rest) = line.trim().split_once(" (")?;
    let own = own.replace(',', "").parse().ok()?;
    let (_, name) = rest.split_once("%)")?;
    let name = name.split(" [").next()?.trim();
    if name.starts_with("PROGRAM TOTALS") {
        return None;
    }
    // A colon that stands alone ends the file name.
    let bytes = name.as_bytes();
    let is_end = |&at: &usize| {
        bytes[at] == b':' && bytes.get(at + 1) != Some(&b':') && (at == 0 || bytes[at - 1] != b':')
    };
    let name = match (0..bytes.len()).find(is_end) {
        Some(at) => &name[at + 1..],
        None => name,
    };
    Some((own, without_hash(name).to_owned()))
}

/// Without what makes a Rust symbol unique.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 => path,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_found() {
        assert_eq!(total("events: Ir\ntotals: 1234\n"), Some(1234.0));
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn functions_are_told_from_the_files_they_are_in() {
        for (line, expected) in [
            (
                "1,234 (5.0%)  src/x.rs:a::b::h0123456789abcdef [/bin/x]",
                Some((1234.0, "a::b".to_owned())),
            ),
            (
                "   7 ( 0.1%)  ./nptl/lock.c:lock [/lib/libc.so.6]",
                Some((7.0, "lock".to_owned())),
            ),
            ("9 (1%)  ???:0x0001 [???]", Some((9.0, "0x0001".to_owned()))),
            ("1,000 (100.0%)  PROGRAM TOTALS", None),
            ("Ir", None),
        ] {
            assert_eq!(function(line), expected, "{line}");
        }
    }
}
