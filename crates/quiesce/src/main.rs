//! `quiesce`: the block layer as a command.
//!
//! Without arguments it gives the tour: real image files, verified requests
//! from two iothreads, and a main thread that rebuilds the graph below them.
//! Each subcommand is one module and one variant of [`cli::Command`].

#![forbid(unsafe_code)]

mod bench;
mod cli;
mod draw;
mod graph;
mod run;
mod stress;
mod tool;
mod tour;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::tool::Tool;

fn main() -> ExitCode {
    if let Some(code) = tool::main() {
        return code;
    }
    match Cli::parse().into_command() {
        Command::Tour(options) => tour::main(&options),
        Command::Graph(options) => graph::main(&options),
        Command::Bench(options) => bench::main(&options),
        Command::Stress(options) => stress::main(&options),
        Command::Img(line) => tool::run(Tool::Img, &line.arguments),
        Command::Io(line) => tool::run(Tool::Io, &line.arguments),
    }
}
