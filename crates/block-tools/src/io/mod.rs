//! Requests by hand: `qemu-io`.
//!
//! Each command reads its line, does what it says to the image that is open,
//! and prints what came of it. Commands are in tables by what they are about:
//!
//! | module | commands |
//! |---|---|
//! | `transfer` | `read`, `write`, `readv`, `writev` and the `aio_` ones |
//! | `change` | `flush`, `discard`, `truncate` |
//! | `look` | `length`, `map`, `alloc`, `info`, `zone_report` |
//! | `image` | `open`, `close`, `reopen` |
//! | `debug` | breakpoints, `sleep`, `sigraise`, `abort` |
//! | `zones` | what zoned devices know |

mod change;
mod command;
mod debug;
mod image;
mod look;
mod memory;
mod report;
mod session;
mod transfer;
mod zones;

use std::io::{BufRead, Write};
use std::process::ExitCode;

use block_gs::{BlockLayer, BqlGuard};

use crate::getopt::{self, Known};
use crate::{damage, keyed};

use command::Outcome;
use session::{OpenWith, Session};

const KNOWN: &[Known] = &[
    Known::both('h', "help"),
    Known::both('V', "version"),
    Known::both('c', "cmd").value(),
    Known::both('f', "format").value(),
    Known::both('r', "read-only"),
    Known::both('s', "snapshot"),
    Known::both('n', "nocache"),
    Known::both('C', "copy-on-read"),
    Known::both('m', "misalign"),
    Known::both('k', "native-aio"),
    Known::both('i', "aio").value(),
    Known::both('t', "cache").value(),
    Known::both('d', "discard").value(),
    Known::both('T', "trace").value(),
    Known::both('U', "force-share"),
    Known::name("object").value(),
    Known::name("image-opts"),
];

/// What `--help` prints, for the tool called `name`.
pub fn help(name: &str) -> String {
    format!(
        "Usage: {name} [OPTIONS]... [-c STRING]... [file]
Sends requests to a disk image, by command.

  -c, --cmd STRING     run this command; may be given several times. Without
                       any, commands are read from standard input
  -f, --format FMT     the format of the image; without, it is looked into
      --image-opts     FILE is a string of options: driver=raw,file.filename=x
      --object OBJECT  makes an object that options refer to, such as
                       throttle-group,id=tg0,x-iops-total=100
  -r, --read-only      open for reading only
  -U, --force-share    let others write the image meanwhile (with -r)
  -s, --snapshot       write to a temporary overlay, which goes at the end
  -C, --copy-on-read   keep in the image what is read from its backing image
  -t, --cache MODE     none, writeback, directsync, unsafe, or writethrough,
                       which is meant when nothing is said
  -n, --nocache        as -t none
  -i, --aio MODE       threads, native or io_uring
  -k, --native-aio     as -i native
  -d, --discard MODE   ignore or unmap, which is meant when nothing is said
  -m, --misalign       use memory that is not aligned
  -T, --trace OPTS     is accepted, and has no effect
  -h, --help           this text
  -V, --version        the version

`{name} -c help` lists the commands, `{name} -c 'help read'` explains one.

Examples:
  {name} -f raw -c 'write -P 0xaa 0 64k' -c 'read -P 0xaa 0 64k' disk.img
  {name} -c map -r disk.qcow2
  {name} --image-opts -c 'read -v 0 32' driver=null-co,read-zeroes=on

The exit code is 0 if every command did what it was to do, otherwise 1.
"
    )
}

/// Runs the tool, called `name`, with these arguments.
pub fn main(name: &str, arguments: &[String]) -> ExitCode {
    let complain = |message: &dyn std::fmt::Display| {
        eprintln!("{name}: {message}");
        ExitCode::FAILURE
    };
    let parsed = match getopt::parse(KNOWN, arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            print!("{}", help(name));
            return complain(&error);
        }
    };
    if parsed.has("help") {
        print!("{}", help(name));
        return ExitCode::SUCCESS;
    }
    if parsed.has("version") {
        println!("{name} version {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    if parsed.arguments.len() > 1 {
        print!("{}", help(name));
        return ExitCode::FAILURE;
    }
    if parsed.has("image-opts") && parsed.has("format") {
        return complain(&"--image-opts and -f are mutually exclusive");
    }
    let mut with = match OpenWith::from_tool(&parsed) {
        Ok(with) => with,
        Err(message) => return complain(&message),
    };
    let layer = match BlockLayer::new() {
        Ok(layer) => layer,
        Err(error) => return complain(&error),
    };
    let file = parsed.arguments.first().map(String::as_str);
    let commands: Vec<&str> = parsed.values("cmd").collect();
    layer.enter(|bql| {
        let _listening = damage::say_damage(bql);
        for object in parsed.values("object") {
            if let Err(error) = keyed::add_object(bql, object) {
                let code = complain(&error);
                if let Some(hint) = error.hint() {
                    eprintln!("{hint}");
                }
                return code;
            }
        }
        let mut session = Session::new(name, parsed.has("misalign"), parsed.has("image-opts"));
        if let Some(file) = file {
            let opened = match parsed.has("image-opts") {
                true => with
                    .add_options(name, file)
                    .and_then(|()| session.open(bql, None, with)),
                false => session.open(bql, Some(file), with),
            };
            if let Err(message) = opened {
                return complain(&message);
            }
        }
        let done = match commands.is_empty() {
            true => interact(bql, &mut session),
            false => run_all(bql, &mut session, &commands),
        };
        session.finish(bql);
        done
    })
}

fn run_all(bql: &mut BqlGuard, session: &mut Session, commands: &[&str]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for line in commands {
        match command::run(bql, session, line) {
            Outcome::Done => {}
            Outcome::Failed => code = ExitCode::FAILURE,
            Outcome::Quit => break,
        }
    }
    code
}

/// Commands from standard input, until it ends or `quit`.
fn interact(bql: &mut BqlGuard, session: &mut Session) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    let prompt = format!("{}> ", session.name());
    let mut line = String::new();
    loop {
        print!("{prompt}");
        let _ = std::io::stdout().flush();
        line.clear();
        match std::io::stdin().lock().read_line(&mut line) {
            Ok(0) | Err(_) => return code,
            Ok(_) => {}
        }
        match command::run(bql, session, line.trim_end_matches('\n')) {
            Outcome::Done => {}
            Outcome::Failed => code = ExitCode::FAILURE,
            Outcome::Quit => return code,
        }
        // What was sent without waiting may be done.
        bql.poll(block_io::aio::Wait::No);
    }
}
