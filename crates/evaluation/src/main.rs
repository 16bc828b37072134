//! `evaluation`: gathers the evidence on `design/evaluation.md`.

#![forbid(unsafe_code)]

use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};
use evaluation::breakages::{self, BREAKAGES};
use evaluation::{Failure, page, tree};

/// Gathers the evidence that the layering holds on `design/evaluation.md`.
///
/// Without a command: runs the suites so that they write their tables anew,
/// breaks every rule on purpose, and writes the page. That takes the better
/// part of an hour on two cores.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Task>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Writes those tables of the page that are made from files: seconds.
    Page,
    /// Runs the suites that write tables of their own (compile-fail cases,
    /// models, scenarios), then writes the page.
    Suites,
    /// Breaks rules on purpose, in a copy of the sources, and checks that a
    /// suite notices: a minute or two each.
    ///
    /// Without names all of them, and the result goes to the page.
    Break {
        /// Which; `evaluation list` names them.
        names: Vec<String>,
    },
    /// Names the breakages, and says what each does.
    List,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        None => all(),
        Some(Task::Page) => write_page(),
        Some(Task::Suites) => suites().and_then(|()| write_page()),
        Some(Task::Break { names }) => breakages::run(&names),
        Some(Task::List) => {
            for breakage in BREAKAGES {
                println!("{:<24} {}", breakage.name, breakage.what);
            }
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("evaluation: {error}");
            ExitCode::FAILURE
        }
    }
}

fn all() -> Result<(), Failure> {
    suites()?;
    write_page()?;
    breakages::run(&[])
}

fn write_page() -> Result<(), Failure> {
    page::save(&page::render()?)?;
    println!("{} is up to date", page::PAGE);
    Ok(())
}

/// Each writes its own table when it is asked to.
fn suites() -> Result<(), Failure> {
    let results = tree::root().join("loom-tests/RESULTS.md");
    let results = results.to_string_lossy().into_owned();
    let runs: [(&[&str], &str, &str); 4] = [
        (&["-p", "ui-tests", "--test", "ui"], "UPDATE_TABLE", "1"),
        (&["-p", "ui-tests", "--test", "rules"], "UPDATE_TABLE", "1"),
        (&["-p", "scenarios"], "UPDATE_TABLE", "1"),
        (&["-p", "loom-tests"], "LOOM_RESULTS", &results),
    ];
    for (arguments, variable, value) in runs {
        let mut command = Command::new("cargo");
        command
            .arg("test")
            .args(arguments)
            .env(variable, value)
            .current_dir(tree::root());
        let words = format!("cargo test {}", arguments.join(" "));
        let failed = |what: String| Failure::Command {
            command: words.clone(),
            what,
        };
        println!("== {words}");
        let status = command
            .status()
            .map_err(|error| failed(error.to_string()))?;
        if !status.success() {
            return Err(failed(format!("ended with {status}")));
        }
    }
    Ok(())
}
