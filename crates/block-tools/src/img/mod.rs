//! Images as files: `qemu-img`.
//!
//! A subcommand reads its line, opens what it says, and prints what came of
//! it. `call` is what all of them share; each has a module of its name.
//!
//! | module | what |
//! |---|---|
//! | `call` | lines of subcommands, and how they end |
//! | `image` | opening images; reading them in whole sectors |
//! | `source` | `--image-opts` and `-o` |
//! | `json` | answers for programs |
//! | `describe` | sizes, snapshots and what drivers know, for people |
//! | `progress` | `-p` |

mod amend;
mod bench;
mod bitmap;
mod call;
mod check;
mod commit;
mod compare;
mod convert;
mod create;
mod dd;
mod describe;
mod image;
mod info;
mod json;
mod map;
mod measure;
mod progress;
mod rebase;
mod resize;
mod snapshot;
mod source;

use std::io::Write;
use std::process::ExitCode;

use block_gs::BlockLayer;
use block_io::aio::Wait;

use crate::damage;
use crate::getopt::{Known, Word, Words};
use call::{Call, Command, complain, whisper};

/// In the order in which help has them.
static COMMANDS: &[&Command] = &[
    &amend::COMMAND,
    &bench::COMMAND,
    &bitmap::COMMAND,
    &check::COMMAND,
    &commit::COMMAND,
    &compare::COMMAND,
    &convert::COMMAND,
    &create::COMMAND,
    &dd::COMMAND,
    &info::COMMAND,
    &map::COMMAND,
    &measure::COMMAND,
    &rebase::COMMAND,
    &resize::COMMAND,
    &snapshot::COMMAND,
];

const KNOWN: &[Known] = &[
    Known::both('h', "help"),
    Known::both('V', "version"),
    Known::both('T', "trace").value(),
];

/// What `--help` prints, for the tool called `name`.
pub fn help(name: &str) -> String {
    let commands: String = COMMANDS
        .iter()
        .map(|command| format!("  {:<10}{}\n", command.name, command.about))
        .collect();
    let formats: Vec<&str> = block_open::drivers()
        .iter()
        .map(|known| known.name)
        .collect();
    format!(
        "Usage: {name} [OPTIONS] COMMAND ...
Makes, converts, changes and looks at disk images.

  -h, --help           this text
  -V, --version        the version
  -T, --trace OPTS     is accepted, and has no effect

Commands ('{name} COMMAND --help' explains one):
{commands}
Supported image formats:
  {}

Sizes are in bytes, or in powers of 1024 with k, M, G, T, P or E behind them.
Do not change an image that somebody else has open: its locks are respected,
and -U reads past them.

Examples:
  {name} create -f raw disk.img 20G
  {name} info --output=json disk.img
  {name} convert -p -O raw disk.qcow2 disk.img
  {name} compare disk.img copy.img

The exit code is 0 if the command did what it was to do, and 1 if not; check
and compare have more, which their help explains.
",
        formats.join(" ")
    )
}

/// Runs the tool, called `name`, with these arguments.
pub fn main(name: &str, arguments: &[String]) -> ExitCode {
    ExitCode::from(run(name, arguments))
}

fn run(name: &str, arguments: &[String]) -> u8 {
    let usage = |message: &dyn std::fmt::Display| {
        complain(name, message);
        whisper(&format!("Try '{name} --help' for more info\n"));
        1
    };
    if arguments.is_empty() {
        return usage(&"Not enough arguments");
    }
    let mut words = Words::new(KNOWN, arguments);
    let called = loop {
        match words.next_word() {
            None => return 0,
            Some(Err(error)) => return usage(&error),
            Some(Ok(Word::Argument(word))) => break word,
            Some(Ok(Word::Option(option, _))) => match &*option {
                "help" => {
                    say(&help(name));
                    return 0;
                }
                "version" => {
                    say(&format!("{name} version {}\n", env!("CARGO_PKG_VERSION")));
                    return 0;
                }
                _ => {}
            },
        }
    };
    let line = &arguments[arguments.len() - words.left()..];
    let Some(command) = COMMANDS.iter().find(|command| command.name == called) else {
        return usage(&format!("Command not found: {called}"));
    };
    let call = Call::new(name, command, line);
    let layer = match BlockLayer::new() {
        Ok(layer) => layer,
        Err(error) => {
            complain(name, &error);
            return 1;
        }
    };
    layer.enter(|bql| {
        // A check says it among what it finds.
        let is_check = command.name == check::COMMAND.name;
        let _listening = (!is_check).then(|| damage::say_damage(bql));
        let outcome = (command.run)(bql, &call);
        // What is wrong with an image is said before what came of it.
        bql.poll(Wait::No);
        call.end(outcome)
    })
}

/// Writes to standard output. Who closed it does not want to know.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
