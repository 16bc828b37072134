//! `coverage`: what of QEMU's block layer has its place here.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use coverage::api::{Api, CRATES};
use coverage::check::{complaints, complaints_about_tests, exercises};
use coverage::exercise::Tests;
use coverage::rejection::call::Calls;
use coverage::rejection::{compiler, program};
use coverage::shares::{Share, by_area, percent};
use coverage::{ReadError, table};

const HELP: &str = "\
Says what of QEMU's block layer has its place here, and where `design/api.csv` and the
code disagree.

usage: coverage          the shares, and complaints
       coverage api      every public function, with the proof that it takes
       coverage tests    every test, with the words in it
       coverage tests PATH...
                         the tests that exercise these functions: `block_gs::Node::drain`
       coverage programs DIR
                         writes to a directory the programs that call every function
                         with a proof where there is none: a package to be refused
";

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        None => report(),
        Some("api") => api(),
        Some("tests") if std::env::args().len() > 2 => tests_of(std::env::args().skip(2)),
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
        "{} rows; {} exist in QEMU 10.0.2; {} of those have a place here; {} a test ({} %)",
        rows.len(),
        share.existing,
        share.placed,
        share.tested,
        percent(share.tested, share.existing)
    );
    println!("\narea            exist   place    test   replaced, not needed, out of scope");
    for (area, share) in by_area(&rows) {
        let Share {
            existing,
            placed,
            tested,
            absent: [replaced, not_needed, out_of_scope],
        } = share;
        println!(
            "{area:14} {existing:6}  {placed:6}  {tested:6}   {replaced}, {not_needed}, {out_of_scope}"
        );
    }
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

fn tests_of(places: impl Iterator<Item = String>) -> Result<bool, ReadError> {
    let (api, tests) = (Api::read()?, Tests::read()?);
    let places: Vec<String> = places.collect();
    for (name, _) in tests.all() {
        let reached = tests.reached(name, &api);
        for place in &places {
            if exercises(&api, &tests, &reached, place) {
                println!("{place}\t{name}");
            }
        }
    }
    Ok(true)
}
