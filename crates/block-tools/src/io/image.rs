//! `open` and `close`.

use block_gs::BqlGuard;

use super::command::{Command, Failed};
use super::session::{OpenWith, Session};
use crate::getopt::{Known, Parsed};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        short: Some("o"),
        words: (0, None),
        usage: "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]",
        more: " Opens an image for the other commands: 'open -n -o driver=raw /tmp/data'.

 -r  for reading only
 -s  writes to a temporary overlay
 -C  keeps in the image what is read from its backing image
 -n  as -t none
 -U  lets others write the image meanwhile (with -r)
 -k  as -i native
 -i  threads, native or io_uring
 -t  the mode of the cache: none, writeback, directsync, unsafe, writethrough
 -d  whether discards reach the image: ignore, unmap
 -o  options of the driver",
        options: &[
            Known::both('r', "read-only"),
            Known::both('s', "snapshot"),
            Known::both('C', "copy-on-read"),
            Known::both('n', "nocache"),
            Known::both('U', "force-share"),
            Known::both('k', "native-aio"),
            Known::both('i', "aio").value(),
            Known::both('t', "cache").value(),
            Known::both('d', "discard").value(),
            Known::both('o', "options").value(),
        ],
        without_file: true,
        ..Command::new("open", "open the file specified by path", open)
    },
    Command {
        short: Some("c"),
        ..Command::new("close", "close the current open file", close)
    },
];

fn open(bql: &mut BqlGuard, session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let mut with = OpenWith::from_tool(line).map_err(Failed::Report)?;
    for options in line.values("options") {
        with.add_options(options).map_err(Failed::Report)?;
    }
    let path = match &line.arguments[..] {
        [] => None,
        [path] => Some(&**path),
        _ => return Err(Failed::Usage),
    };
    if path.is_none() && line.value("options").is_none() {
        return Err(Failed::Usage);
    }
    session.open(bql, path, with).map_err(Failed::Report)
}

fn close(bql: &mut BqlGuard, session: &mut Session, _line: &Parsed) -> Result<(), Failed> {
    session.close(bql);
    Ok(())
}
