//! The table of commands, and running one.

use block_gs::{BqlGuard, Perm};
use block_io::aio::Wait;

use super::session::Session;
use super::{change, debug, image, look, transfer, zones};
use crate::getopt::{self, Known, Parsed};

/// What came of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Done,
    Failed,
    /// No more lines are wanted.
    Quit,
}

/// Why a command did not do what it was to do.
#[derive(Debug)]
pub(super) enum Failed {
    /// All has been said.
    Said,
    /// The line makes no sense: the usage is to be shown.
    Usage,
    /// A message for standard output.
    Print(String),
    /// A message for standard error, after the name of the tool.
    Report(String),
}

/// A function of a command: what it was given, and how it ended.
pub(super) type Run = fn(&mut BqlGuard, &mut Session, &Parsed) -> Result<(), Failed>;

/// A command.
pub(super) struct Command {
    pub name: &'static str,
    pub short: Option<&'static str>,
    /// How many words must, and may, follow.
    pub words: (usize, Option<usize>),
    pub usage: Option<&'static str>,
    pub about: &'static str,
    /// What `help` says beyond that.
    pub more: &'static str,
    /// Its options; of a command without any, all words are arguments.
    pub options: &'static [Known],
    /// What the backend must be allowed to do.
    pub perm: Perm,
    /// Whether it works without a file.
    pub without_file: bool,
    pub run: Run,
}

impl Command {
    /// One that takes no options; the rest is to be filled in.
    pub const fn new(name: &'static str, about: &'static str, run: Run) -> Command {
        Command {
            name,
            short: None,
            words: (0, Some(0)),
            usage: None,
            about,
            more: "",
            options: &[],
            perm: Perm::empty(),
            without_file: false,
            run,
        }
    }

    fn line(&self) -> String {
        let Command {
            name, usage, about, ..
        } = self;
        match usage {
            None => format!("{name} -- {about}"),
            Some(usage) => format!("{name} {usage} -- {about}"),
        }
    }
}

const QUIT: &str = "quit";

static OWN: [Command; 2] = [
    Command {
        words: (0, Some(1)),
        usage: Some("[command]"),
        short: Some("?"),
        without_file: true,
        ..Command::new("help", "help for one or all commands", help)
    },
    Command {
        short: Some("q"),
        words: (0, None),
        without_file: true,
        ..Command::new(QUIT, "exit the program", |_, _, _| Ok(()))
    },
];

fn all() -> Vec<&'static Command> {
    let tables: [&'static [Command]; 7] = [
        &OWN,
        transfer::COMMANDS,
        change::COMMANDS,
        look::COMMANDS,
        image::COMMANDS,
        debug::COMMANDS,
        zones::COMMANDS,
    ];
    let mut all: Vec<&Command> = tables.into_iter().flatten().collect();
    all.sort_unstable_by_key(|command| command.name);
    all
}

fn find(name: &str) -> Option<&'static Command> {
    let is_called = |command: &&Command| command.name == name || command.short == Some(name);
    all().into_iter().find(is_called)
}

fn help(_bql: &mut BqlGuard, _session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let Some(name) = line.arguments.first() else {
        for command in all() {
            println!("{}", command.line());
        }
        println!("\nUse 'help commandname' for extended help.");
        return Ok(());
    };
    match find(name) {
        None => Err(Failed::Print(format!("command {name} not found"))),
        Some(command) => {
            println!("{}", command.line());
            if !command.more.is_empty() {
                println!("\n{}\n", command.more);
            }
            Ok(())
        }
    }
}

/// Runs one line. Words are separated by blanks, not by tabs; nothing is
/// quoted.
pub(super) fn run(bql: &mut BqlGuard, session: &mut Session, line: &str) -> Outcome {
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let Some(name) = words.next() else {
        return Outcome::Done;
    };
    let Some(command) = find(name) else {
        eprintln!("command \"{name}\" not found");
        return Outcome::Failed;
    };
    let words: Vec<String> = words.map(str::to_owned).collect();
    match run_command(bql, session, command, name, &words) {
        Ok(()) if command.name == QUIT => Outcome::Quit,
        Ok(()) => Outcome::Done,
        Err(failed) => {
            // What is wrong with the image is said before what came of it.
            bql.poll(Wait::No);
            match failed {
                Failed::Said => {}
                Failed::Usage => println!("{}", command.line()),
                Failed::Print(message) => println!("{message}"),
                Failed::Report(message) => eprintln!("{}: {message}", session.name()),
            }
            Outcome::Failed
        }
    }
}

fn run_command(
    bql: &mut BqlGuard,
    session: &mut Session,
    command: &Command,
    name: &str,
    words: &[String],
) -> Result<(), Failed> {
    if !command.without_file && !session.is_open() {
        eprintln!("no file open, try 'help open'");
        return Err(Failed::Said);
    }
    let (least, most) = command.words;
    let count = words.len();
    let wanted = match most {
        _ if count < least && most.is_none() => Some(format!("at least {least}")),
        Some(most) if most == least && count != least => Some(least.to_string()),
        Some(most) if count < least || count > most => Some(format!("between {least} and {most}")),
        _ => None,
    };
    if let Some(wanted) = wanted {
        eprintln!("bad argument count {count} to {name}, expected {wanted} arguments");
        return Err(Failed::Said);
    }
    let line = match command.options.is_empty() {
        true => Ok(Parsed {
            arguments: words.to_vec(),
            ..Parsed::default()
        }),
        false => getopt::parse(command.options, words).map_err(|error| {
            eprintln!("{name}: {error}");
            Failed::Usage
        }),
    };
    session.allow(bql, command.perm)?;
    (command.run)(bql, session, &line?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_own_name_and_says_what_it_does() {
        let mut names: Vec<&str> = all()
            .iter()
            .flat_map(|command| std::iter::once(command.name).chain(command.short))
            .collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
        for command in all() {
            assert!(!command.about.is_empty(), "{}", command.name);
            let (least, most) = command.words;
            assert!(most.is_none_or(|most| most >= least), "{}", command.name);
        }
    }
}
