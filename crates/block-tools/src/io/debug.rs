//! Breakpoints, time, and the end of it all.

use std::time::Duration;

use block_gs::BqlGuard;
use block_io::IoError;
use block_io::aio::{Wait, sleep as pause};
use rustix::process::{Signal, getpid, kill_process};

use super::command::{Command, Failed};
use super::session::{Session, reason};
use super::transfer::size;
use crate::getopt::Parsed;
use crate::human;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        words: (2, Some(2)),
        usage: Some("event tag"),
        more: " Holds the next request that reports EVENT, under the name TAG. The image must
 be above a blkdebug node.",
        ..Command::new(
            "break",
            "sets a breakpoint on event and tags the stopped request as tag",
            set_breakpoint,
        )
    },
    Command {
        words: (1, Some(1)),
        usage: Some("tag"),
        ..Command::new("remove_break", "remove a breakpoint by tag", remove_break)
    },
    Command {
        words: (1, Some(1)),
        usage: Some("tag"),
        ..Command::new("resume", "resumes the request tagged as tag", resume)
    },
    Command {
        words: (1, Some(1)),
        usage: Some("tag"),
        ..Command::new(
            "wait_break",
            "waits for the suspension of a request",
            wait_break,
        )
    },
    Command {
        words: (1, Some(1)),
        without_file: true,
        ..Command::new("sleep", "waits for the given value in milliseconds", sleep)
    },
    Command {
        words: (1, Some(1)),
        usage: Some("signal"),
        more: " Sends a signal, by its number, to this process: 'sigraise 15'.",
        without_file: true,
        ..Command::new("sigraise", "raises a signal", sigraise)
    },
    Command {
        without_file: true,
        ..Command::new(
            "abort",
            "simulate a program crash using abort(3)",
            |_, _, _| std::process::abort(),
        )
    },
];

fn say(what: &str, done: Result<(), IoError>) -> Result<(), Failed> {
    done.map_err(|error| Failed::Print(format!("Could not {what}: {}", reason(&error))))
}

fn set_breakpoint(bql: &mut BqlGuard, session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let [event, tag] = &line.arguments[..] else {
        return Err(Failed::Usage);
    };
    let done = session.image()?.node.set_breakpoint(bql, event, tag);
    say("set breakpoint", done)
}

fn remove_break(bql: &mut BqlGuard, session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let tag = &line.arguments[0];
    let done = session.image()?.node.remove_breakpoint(bql, tag);
    say(&format!("remove breakpoint {tag}"), done)
}

fn resume(bql: &mut BqlGuard, session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let done = session
        .image()?
        .node
        .resume_breakpoint(bql, &line.arguments[0]);
    say("resume request", done)
}

fn wait_break(bql: &mut BqlGuard, session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let node = session.image()?.node.clone();
    while !node.is_suspended(bql, &line.arguments[0]) {
        bql.poll(Wait::Until(None));
    }
    Ok(())
}

fn sleep(bql: &mut BqlGuard, _session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let text = &line.arguments[0];
    let number = human::integer(text).and_then(|number| u32::try_from(number).ok());
    let Some(milliseconds) = number else {
        return Err(Failed::Print(format!("{text} is not a valid number")));
    };
    bql.block_on(pause(Duration::from_millis(u64::from(milliseconds))));
    Ok(())
}

fn sigraise(_bql: &mut BqlGuard, _session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let text = &line.arguments[0];
    let number = i32::try_from(size(text)?).ok();
    let Some(signal) = number.and_then(Signal::from_named_raw) else {
        return Err(Failed::Print(format!(
            "signal argument '{text}' is invalid"
        )));
    };
    let sent = kill_process(getpid(), signal);
    sent.map_err(|error| Failed::Print(format!("sigraise failed: {error}")))
}
