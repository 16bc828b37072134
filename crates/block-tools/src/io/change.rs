//! `flush`, `discard`, `truncate`.

use std::time::Instant;

use block_common::limits::MAX_REQUEST;
use block_gs::{BqlGuard, Perm};
use block_io::Preallocation;

use super::command::{Command, Failed};
use super::session::{Session, reason};
use super::transfer::{size, tell};
use crate::getopt::{Known, Parsed};
use crate::human;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        short: Some("f"),
        ..Command::new("flush", "flush all in-core file state to disk", flush)
    },
    Command {
        short: Some("d"),
        words: (2, None),
        usage: Some("[-Cq] off len"),
        more: " Says that LEN bytes from OFF on are not needed any more: 'discard 512 1k'.

 -C  statistics with commas, for programs
 -q  no statistics",
        options: &[Known::letter('C'), Known::letter('q')],
        perm: Perm::WRITE,
        ..Command::new(
            "discard",
            "discards a number of bytes at a specified offset",
            discard,
        )
    },
    Command {
        short: Some("t"),
        words: (1, Some(3)),
        usage: Some("[-m prealloc_mode] off"),
        more: " Makes the image OFF bytes long. The modes are off, metadata, falloc, full.",
        options: &[Known::letter('m').value()],
        perm: Perm::WRITE.union(Perm::RESIZE),
        ..Command::new(
            "truncate",
            "truncates the current file at the given offset",
            truncate,
        )
    },
];

fn flush(bql: &mut BqlGuard, session: &mut Session, _line: &Parsed) -> Result<(), Failed> {
    let root = session.root()?;
    let done = bql.block_on(root.flush());
    // The exit code alone tells.
    done.map_err(|_| Failed::Said)
}

fn discard(bql: &mut BqlGuard, session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let [offset, length] = &line.arguments[..] else {
        return Err(Failed::Usage);
    };
    let (offset, bytes) = (size(offset)?, size(length)?);
    if bytes > MAX_REQUEST {
        return Err(Failed::Print(format!(
            "length cannot exceed {MAX_REQUEST}, given {length}"
        )));
    }
    let root = session.root()?;
    let begun = Instant::now();
    let done = bql.block_on(root.discard(offset, bytes));
    let took = begun.elapsed();
    done.map_err(|error| Failed::Print(format!("discard failed: {}", reason(&error))))?;
    tell(line, "discard", offset, bytes, took);
    Ok(())
}

/// A mode of preallocation by its name.
pub(super) fn preallocation(name: &str) -> Option<Preallocation> {
    let modes = [
        Preallocation::Off,
        Preallocation::Metadata,
        Preallocation::Falloc,
        Preallocation::Full,
    ];
    modes.into_iter().find(|mode| mode.to_string() == name)
}

fn truncate(bql: &mut BqlGuard, session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let mode = line.value("m").unwrap_or("off");
    let Some(mode) = preallocation(mode) else {
        let text = format!("Invalid preallocation mode '{mode}'");
        return Err(Failed::Report(text));
    };
    // What follows the length is not looked at.
    let length = line.arguments.first().map_or("", String::as_str);
    // The complaint names the word behind the command, whichever that is.
    let named = match line.has("m") {
        true => "-m",
        false if length.is_empty() => "--",
        false => length,
    };
    let length = human::parse(length).map_err(|message| {
        let complaint = message.strip_suffix(length).unwrap_or(&message);
        Failed::Print(format!("{complaint}{named}"))
    })?;
    let root = session.root()?;
    let done = bql.block_on(root.truncate(length, false, mode));
    done.map_err(|error| Failed::Report(error.to_string()))
}
