//! A call of a subcommand: its line, and how it ends.

use std::fmt::Display;
use std::io::Write;

use block_gs::{BqlGuard, GraphError};
use block_io::IoError;
use block_open::OpenError;

use crate::getopt::{self, Known, OptionError, Parsed};
use crate::keyed;

/// A subcommand.
pub(super) struct Command {
    /// What it is called.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// What follows its name.
    pub usage: &'static str,
    /// What its options and arguments mean.
    pub help: &'static str,
    /// The options that it knows.
    pub known: &'static [Known],
    /// Does it, and says the exit code.
    pub run: fn(&mut BqlGuard, &Call<'_>) -> Result<u8, Failed>,
}

/// Why a subcommand ends early.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Failed {
    /// Everything is said; only the exit code is left.
    Exit(u8),
    /// Something is to be reported, with lines of advice, and the exit code.
    Report(String, Option<String>, u8),
    /// The line makes no sense; `--help` has more.
    Usage(String),
}

impl Failed {
    /// With another exit code.
    pub fn code(self, code: u8) -> Failed {
        match self {
            Failed::Exit(0) => Failed::Exit(0),
            Failed::Exit(_) => Failed::Exit(code),
            Failed::Report(message, hint, _) => Failed::Report(message, hint, code),
            Failed::Usage(message) => Failed::Usage(message),
        }
    }
}

/// A failure that is reported.
pub(super) fn fail(message: impl Into<String>) -> Failed {
    Failed::Report(message.into(), None, 1)
}

/// What has words and perhaps advice.
pub(super) trait Words: Display {
    fn advice(&self) -> Option<String>;
}

impl Words for OpenError {
    fn advice(&self) -> Option<String> {
        match self {
            // QEMU lets them be guessed.
            OpenError::UnknownDriver(_) => None,
            error => error.hint(),
        }
    }
}

impl Words for GraphError {
    fn advice(&self) -> Option<String> {
        self.hint().map(str::to_owned)
    }
}

impl Words for IoError {
    fn advice(&self) -> Option<String> {
        None
    }
}

impl Words for block_gs::BitmapError {
    fn advice(&self) -> Option<String> {
        None
    }
}

/// An error with what stands before it.
pub(super) fn because(before: impl Display, error: &dyn Words) -> Failed {
    Failed::Report(format!("{before}{error}"), error.advice(), 1)
}

/// A number of bytes between two others, in words of a message.
///
/// # Errors
/// The message.
pub(super) fn number(what: &str, text: &str, least: u64, most: u64) -> Result<u64, Failed> {
    match block_open::parse_size(text) {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        Ok(_) | Err(block_open::SizeError::Range) => Err(fail(format!(
            "Invalid {what} specified. Must be between {least} and {most}."
        ))),
        Err(_) => Err(fail(format!("Invalid {what} specified: '{text}'."))),
    }
}

/// As [`number`], of anything that an image can have.
pub(super) fn size(what: &str, text: &str) -> Result<u64, Failed> {
    number(what, text, 0, i64::MAX as u64)
}

/// How an answer is to be written (`--output`).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Output {
    /// For people.
    #[default]
    Human,
    /// For programs.
    Json,
}

impl Output {
    pub fn parse(word: &str) -> Result<Output, Failed> {
        match word {
            "human" => Ok(Output::Human),
            "json" => Ok(Output::Json),
            word => Err(Failed::Usage(format!(
                "--output expects 'human' or 'json' not '{word}'"
            ))),
        }
    }
}

/// A subcommand, and what it was given.
pub(super) struct Call<'c> {
    tool: &'c str,
    command: &'static Command,
    line: &'c [String],
    parsed: Parsed,
    wrong: Option<OptionError>,
}

impl<'c> Call<'c> {
    pub fn new(tool: &'c str, command: &'static Command, line: &'c [String]) -> Self {
        let (parsed, wrong) = getopt::parse_until_wrong(command.known, line);
        Call {
            tool,
            command,
            line,
            parsed,
            wrong,
        }
    }

    /// The line as it was given.
    pub fn line(&self) -> &'c [String] {
        self.line
    }

    /// The options that the subcommand knows.
    pub fn known(&self) -> &'static [Known] {
        self.command.known
    }

    /// The arguments among the options, and behind them.
    pub fn arguments(&self) -> &[String] {
        &self.parsed.arguments
    }

    /// The only argument there is.
    pub fn filename(&self) -> Result<&str, Failed> {
        match self.arguments() {
            [filename] => Ok(filename),
            _ => Err(Failed::Usage("Expecting one image file name".to_owned())),
        }
    }

    /// Does `each` with the options in their order, with an empty value for
    /// those that have none; then fails if the line is wrong behind them.
    /// `--help` and `--object` are done here.
    pub fn each(
        &self,
        bql: &mut BqlGuard,
        mut each: impl FnMut(&str, &str) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        for (name, value) in &self.parsed.options {
            let value = value.as_deref().unwrap_or("");
            self.option(bql, name, value, &mut each)?;
        }
        match &self.wrong {
            Some(error) => Err(self.wrong(error)),
            None => Ok(()),
        }
    }

    /// Does one option.
    pub fn option(
        &self,
        bql: &mut BqlGuard,
        name: &str,
        value: &str,
        each: &mut impl FnMut(&str, &str) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        match name {
            "help" => {
                super::say(&self.help());
                Err(Failed::Exit(0))
            }
            "object" => keyed::add_object(bql, value).map_err(|error| because("", &error)),
            _ => each(name, value),
        }
    }

    /// What is wrong with the line itself.
    pub fn wrong(&self, error: &OptionError) -> Failed {
        complain(&format!("{} {}", self.tool, self.command.name), error);
        self.advise();
        Failed::Exit(1)
    }

    fn advise(&self) {
        let (tool, command) = (self.tool, self.command.name);
        whisper(&format!("Try '{tool} {command} --help' for more info\n"));
    }

    /// What `--help` prints.
    fn help(&self) -> String {
        let Command {
            name,
            about,
            usage,
            help,
            ..
        } = self.command;
        let tool = self.tool;
        format!("Usage: {tool} {name} {usage}\n{about}.\n\n{help}")
    }

    /// Says what is left to say, and the exit code.
    pub fn end(&self, outcome: Result<u8, Failed>) -> u8 {
        match outcome {
            Ok(code) | Err(Failed::Exit(code)) => code,
            Err(Failed::Report(message, hint, code)) => {
                complain(self.tool, &message);
                if let Some(hint) = hint {
                    whisper(&format!("{}\n", hint.trim_end_matches('\n')));
                }
                code
            }
            Err(Failed::Usage(message)) => {
                complain(self.tool, &message);
                self.advise();
                1
            }
        }
    }

    /// Says something that does not end the command.
    pub fn warn(&self, message: &dyn Display) {
        complain(self.tool, &format!("warning: {message}"));
    }

    /// Reports something that does not end the command by itself.
    pub fn report(&self, message: &(impl Display + ?Sized)) {
        complain(self.tool, &message);
    }
}

/// Writes to standard error. Who closed it does not want to know.
pub(super) fn whisper(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

pub(super) fn complain(who: &str, message: &dyn Display) {
    whisper(&format!("{who}: {message}\n"));
}

/// The words for a failed request, as `strerror` has them; one beyond the end
/// is an I/O error.
pub(super) fn reason(error: &IoError) -> String {
    strerror(error.errno())
}

/// The words for an errno.
pub(super) fn strerror(number: i32) -> String {
    let number = match number {
        0 => block_common::error::errno::EIO,
        number => number,
    };
    let text = std::io::Error::from_raw_os_error(number).to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_owned()
}
