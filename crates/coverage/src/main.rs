//! `coverage`: what of QEMU's block layer has its place here.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use coverage::api::{Api, CRATES};
use coverage::check::{Share, complaints, complaints_about_tests};
use coverage::exercise::Tests;
use coverage::rejection::call::Calls;
use coverage::rejection::{compiler, program};
use coverage::{ReadError, table};

const HELP: &str = "\
Says what of QEMU's block layer has its place here, and where `design/api.csv` and the
code disagree.

usage: coverage          the shares, and complaints
       coverage api      every public function, with the proof that it takes
       coverage tests    every test, with the words in it
       coverage programs DIR
                         writes to a directory the programs that call every function
                         with a proof where there is none: a package to be refused
";

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        None => report(),
        Some("api") => api(),
        Some("tests") => tests(),
        Some("programs") => programs(),
        Some(_) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("coverage: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report() -> Result<bool, ReadError> {
    let rows = table::read()?;
    let api = Api::read()?;
    let mut wrong = complaints(&rows, &api);
    wrong.extend(complaints_about_tests(&rows, &api, &Tests::read()?));
    for complaint in &wrong {
        println!("{complaint}");
    }
    let share = Share::of(&rows);
    println!(
        "{} rows; {} exist in QEMU 10.0.2; {} of those have a place here; {} a test",
        rows.len(),
        share.existing,
        share.placed,
        share.tested
    );
    Ok(wrong.is_empty())
}

fn api() -> Result<bool, ReadError> {
    let api = Api::read()?;
    for krate in CRATES {
        for (path, function) in api.functions_of(&krate.replace('-', "_")) {
            println!("{path}\t{}", function.proof);
        }
    }
    Ok(true)
}

fn programs() -> Result<bool, ReadError> {
    let Some(directory) = std::env::args().nth(2) else {
        print!("{HELP}");
        return Ok(false);
    };
    let calls = Calls::of(&Api::read()?, &table::read()?);
    for why in &calls.missing {
        println!("{why}");
    }
    compiler::write(&program::all(&calls.calls), Path::new(&directory))?;
    println!("{} functions are called", calls.calls.len());
    Ok(calls.missing.is_empty())
}

fn tests() -> Result<bool, ReadError> {
    for (name, words) in Tests::read()?.all() {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        println!("{name}\t{}", words.join(" "));
    }
    Ok(true)
}
