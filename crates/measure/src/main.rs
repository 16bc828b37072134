//! `measure`: what requests and graph changes cost in this block layer, beside
//! QEMU's tools and beside loops without a block layer.
//!
//! | module | what |
//! |---|---|
//! | [`requests`], [`files`], [`qcow2`], [`images`], [`graph`], [`swap`], [`proofs`], [`compile_time`] | the sections: what is compared with what |
//! | [`contest`] | time: contestants in turns on one CPU, the least of the clean runs |
//! | [`callgrind`] | instructions: the difference of two counts of requests |
//! | [`signatures`] | what is written for the proofs, counted in the sources |
//! | [`generator`] | a crate with proofs and the same without, to be compiled |
//! | [`work`] | what the contestants of this program do, as processes of their own |
//! | [`report`] | tables |
//! | [`cpu`], [`tools`], [`error`] | pinning; programs on `PATH`; what can go wrong |

#![deny(unsafe_code)]

mod callgrind;
mod cli;
mod compile_time;
mod contest;
mod cpu;
mod error;
mod files;
mod generator;
mod graph;
mod images;
mod proofs;
mod qcow2;
mod report;
mod requests;
mod signatures;
mod swap;
mod tools;
mod work;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, Section};
use crate::error::Failure;
use crate::report::Table;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("measure: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    let sections = match &cli.command {
        Command::Work(work) => return work::main(work),
        Command::All => Section::ALL.to_vec(),
        Command::Requests => vec![Section::Requests],
        Command::Files => vec![Section::Files],
        Command::Qcow2 => vec![Section::Qcow2],
        Command::Images => vec![Section::Images],
        Command::Graph => vec![Section::Graph],
        Command::Swap => vec![Section::Swap],
        Command::Proofs => vec![Section::Proofs],
        Command::CompileTime => vec![Section::CompileTime],
    };
    let mut tables: Vec<Table> = Vec::new();
    // At once: what was measured is not lost when something fails later.
    let mut found = |table: Table| {
        if !cli.options.json {
            println!("{}", table.markdown());
        }
        tables.push(table);
    };
    for section in sections {
        match section {
            Section::Requests => requests::measure(&cli.options, &mut found)?,
            Section::Files => files::measure(&cli.options, &mut found)?,
            Section::Qcow2 => qcow2::measure(&cli.options, &mut found)?,
            Section::Images => images::measure(&cli.options, &mut found)?,
            Section::Graph => graph::measure(&cli.options, &mut found)?,
            Section::Swap => swap::measure(&cli.options, &mut found)?,
            Section::Proofs => proofs::measure(&cli.options, &mut found)?,
            Section::CompileTime => compile_time::measure(&cli.options, &mut found)?,
        }
    }
    if cli.options.json {
        println!("{}", report::json(&tables));
    }
    Ok(())
}
