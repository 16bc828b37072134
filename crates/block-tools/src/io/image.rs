//! `open`, `close` and `reopen`.

use block_gs::BqlGuard;
use block_open::{CacheMode, Options};

use super::command::{Command, Failed};
use super::session::{OpenWith, Session};
use crate::getopt::{Known, Parsed};
use crate::keyed;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        short: Some("o"),
        words: (1, None),
        usage: Some("[-rsCnkU] [-t cache] [-d discard] [-o options] [path]"),
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
        words: (0, None),
        usage: Some("[(-r|-w)] [-c cache] [-o options]"),
        more: " Changes how the image is open: 'reopen -o lazy-refcounts=on'.

 -r  for reading only
 -w  for writing too
 -c  the mode of the cache: none, writeback, directsync, unsafe, writethrough
 -o  options of the driver",
        options: &[
            Known::letter('r'),
            Known::letter('w'),
            Known::both('c', "cache").value(),
            Known::both('o', "options").value(),
        ],
        ..Command::new("reopen", "reopens an image with new options", reopen)
    },
    Command {
        short: Some("c"),
        ..Command::new("close", "close the current open file", close)
    },
];

fn open(bql: &mut BqlGuard, session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let mut with = OpenWith::from_tool(line).map_err(Failed::Report)?;
    for options in line.values("options") {
        if session.has_image_opts() {
            let text = "--image-opts and 'open -o' are mutually exclusive";
            return Err(Failed::Print(text.to_owned()));
        }
        with.add_options(session.name(), options)
            .map_err(Failed::Report)?;
    }
    let path = match &line.arguments[..] {
        [] => None,
        [options] if session.has_image_opts() => {
            with.add_options(session.name(), options)
                .map_err(Failed::Report)?;
            None
        }
        [path] => Some(&**path),
        _ => return Err(Failed::Usage),
    };
    session.open(bql, path, with).map_err(Failed::Report)
}

fn close(bql: &mut BqlGuard, session: &mut Session, _line: &Parsed) -> Result<(), Failed> {
    session.close(bql);
    Ok(())
}

fn reopen(bql: &mut BqlGuard, session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let report = |text: &str| Err(Failed::Report(text.to_owned()));
    let switches = line
        .options
        .iter()
        .filter(|(name, _)| name == "r" || name == "w");
    if switches.count() > 1 {
        return report("Only one -r/-w option may be given");
    }
    if !line.arguments.is_empty() {
        return Err(Failed::Usage);
    }
    let mut options = Options::new();
    for text in line.values("options") {
        let given = keyed::options(session.name(), text, None).map_err(Failed::Report)?;
        for (key, value) in given.iter() {
            options.set(key, value.clone());
        }
    }
    if line.has("r") || line.has("w") {
        if options.get("read-only").is_some() {
            return report("Cannot set both -r/-w and 'read-only'");
        }
        options.set("read-only", line.has("r"));
    }
    let mut writes_through = None;
    if let Some(mode) = line.value("cache") {
        let Some(cache) = CacheMode::parse(mode) else {
            return Err(Failed::Report(format!("Invalid cache option: {mode}")));
        };
        if ["cache.direct", "cache.no-flush"]
            .iter()
            .any(|key| options.get(key).is_some())
        {
            return report("Cannot set both -c and the cache options");
        }
        cache.apply(&mut options);
        writes_through = Some(cache.writethrough);
    }
    session.reopen(bql, options, line.has("r"), writes_through)
}
