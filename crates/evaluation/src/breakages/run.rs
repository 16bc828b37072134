//! Making a breakage, and looking who notices.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{BREAKAGES, Breakage, Suite, TABLE, row};
use crate::{Failure, page, tree};

/// Makes the breakages of these names, or all; and, if it was all, writes the
/// table.
///
/// # Errors
/// [`Failure::Unnoticed`], [`Failure::NoBreakage`], or what kept one from
/// being made.
pub fn run(names: &[String]) -> Result<(), Failure> {
    let chosen = chosen(names)?;
    let copy = Copy::make()?;
    let bar = ProgressBar::new(chosen.len() as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(500));
    let mut unnoticed = Vec::new();
    let mut table = String::from(
        "| breakage | rule | what is wrong | file | noticed by | says |\n|---|---|---|---|---|---|\n",
    );
    for breakage in &chosen {
        bar.set_message(breakage.name);
        match copy.notices(breakage)? {
            Ok(()) => say(&bar, &format!("noticed    {}", breakage.name)),
            Err(why) => {
                say(&bar, &format!("UNNOTICED  {}: {why}", breakage.name));
                unnoticed.push(format!("{} ({why})", breakage.name));
            }
        }
        bar.inc(1);
        table += &row(breakage);
    }
    bar.finish_and_clear();
    if !unnoticed.is_empty() {
        return Err(Failure::Unnoticed(unnoticed));
    }
    println!("all {} noticed", chosen.len());
    if names.is_empty() {
        page::write(TABLE, &table)?;
    }
    Ok(())
}

/// Also where nobody looks at the bar.
fn say(bar: &ProgressBar, line: &str) {
    if bar.is_hidden() {
        println!("{line}");
    } else {
        bar.println(line);
    }
}

fn chosen(names: &[String]) -> Result<Vec<Breakage>, Failure> {
    if names.is_empty() {
        return Ok(BREAKAGES.to_vec());
    }
    let find = |name: &String| {
        let found = BREAKAGES.iter().find(|breakage| breakage.name == name);
        found
            .copied()
            .ok_or_else(|| Failure::NoBreakage(name.clone()))
    };
    names.iter().map(find).collect()
}

/// A copy of the sources, with a build directory that is kept from run to
/// run.
struct Copy {
    root: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn make() -> Result<Copy, Failure> {
        let here = tree::root().join("target/evaluation");
        let copy = Copy {
            root: here.join("tree"),
            target: here.join("target"),
        };
        if copy.root.exists() {
            fs::remove_dir_all(&copy.root).map_err(failed(&copy.root))?;
        }
        copy_files(&tree::root(), &copy.root)?;
        Ok(copy)
    }

    /// Whether the suite fails as it should, and else what happened.
    fn notices(&self, breakage: &Breakage) -> Result<Result<(), String>, Failure> {
        let path = self.root.join(breakage.file);
        let text = fs::read_to_string(&path).map_err(failed(&path))?;
        if text.matches(breakage.from).count() != 1 {
            return Err(Failure::Content {
                path,
                what: format!("does not have `{}` once", breakage.from),
            });
        }
        let broken = text.replace(breakage.from, breakage.to);
        fs::write(&path, broken).map_err(failed(&path))?;
        let outcome = self.suite(breakage.suite);
        fs::write(&path, text).map_err(failed(&path))?;
        let (success, said) = outcome?;
        let log = self.target.with_file_name(format!("{}.log", breakage.name));
        fs::write(&log, &said).map_err(failed(&log))?;
        Ok(match (success, said.contains(breakage.says)) {
            (false, true) => Ok(()),
            (true, _) => Err("the suite is green".to_owned()),
            (false, false) => Err(format!("it fails otherwise, see {}", log.display())),
        })
    }

    fn suite(&self, suite: Suite) -> Result<(bool, String), Failure> {
        let mut command = Command::new("cargo");
        command
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_TERM_COLOR", "never");
        match suite {
            Suite::Cases(filter) => {
                command
                    .args(["test", "-p", "ui-tests", "--test", "ui", "--", "cases"])
                    .arg(format!("trybuild={filter}"));
            }
            Suite::Models(filter) => {
                command
                    .args(["test", "--profile", "loom", "-p", "loom-tests"])
                    .args(["--test", "models", filter])
                    .env("RUSTFLAGS", "--cfg block_loom")
                    .env("CARGO_TARGET_DIR", self.target.join("loom"));
            }
            Suite::Tests(arguments) => {
                command.arg("test").args(arguments);
            }
        }
        let output = command.output().map_err(|error| Failure::Command {
            command: suite.command(),
            what: error.to_string(),
        })?;
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        said += &String::from_utf8_lossy(&output.stderr);
        Ok((output.status.success(), said))
    }
}

/// What builds and version control leave is not copied.
fn copy_files(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::create_dir_all(to).map_err(failed(to))?;
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let (name, path) = (entry.file_name(), entry.path());
        if name == "target" || name == ".git" {
            continue;
        }
        let kind = entry.file_type().map_err(failed(&path))?;
        if kind.is_dir() {
            copy_files(&path, &to.join(name))?;
        } else if kind.is_file() {
            fs::copy(&path, to.join(name)).map_err(failed(&path))?;
        }
    }
    Ok(())
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Failure + use<> {
    let path = path.to_owned();
    move |error| Failure::File {
        path: path.clone(),
        error,
    }
}
