//! `amend`: options of an image that is there.

use std::sync::Arc;

use block_gs::{BqlGuard, GraphError};

use super::call::{Call, Command, Failed, because, fail};
use super::image::{Image, OpenAs, cache};
use super::progress::Progress;
use super::source::{add_list, asks_for_help};
use super::{resize, say};
use crate::getopt::Known;

pub(super) static COMMAND: Command = Command {
    name: "amend",
    about: "Changes options with which an image was made",
    usage: "[-f FMT | --image-opts] [-t CACHE] [--force] [-p] [-q] -o OPTIONS FILE",
    help: "  -o, --options OPTIONS  what is to be changed: key=value,...; -o help lists what
                         can be
  -f, --format FMT       what the image is; without, it is looked into
      --image-opts       FILE is a string of options
  -t, --cache CACHE      how it is written: none, writeback, ...
      --force            does also what may lose data
  -p, --progress         tells how far it is
  -q, --quiet            says nothing but errors
      --object OBJECT    makes an object that options refer to
",
    known: &[
        Known::both('h', "help"),
        Known::both('o', "options").value(),
        Known::both('f', "format").value(),
        Known::name("image-opts"),
        Known::both('t', "cache").value(),
        Known::name("force"),
        Known::both('p', "progress"),
        Known::both('q', "quiet"),
        Known::name("object").value(),
    ],
    run,
};

fn run(bql: &mut BqlGuard, call: &Call<'_>) -> Result<u8, Failed> {
    let (mut format, mut lists, mut mode) = (None, Vec::new(), "writeback".to_owned());
    let (mut force, mut progress, mut quiet) = (false, false, false);
    let mut with = OpenAs {
        writable: true,
        ..OpenAs::default()
    };
    call.each(bql, |name, value| {
        match name {
            "options" => add_list(&mut lists, value)?,
            "format" => format = Some(value.to_owned()),
            "image-opts" => with.image_opts = true,
            "cache" => value.clone_into(&mut mode),
            "force" => force = true,
            "progress" => progress = true,
            "quiet" => quiet = true,
            _ => {}
        }
        Ok(())
    })?;
    if lists.is_empty() {
        return Err(Failed::Usage("Must specify options (-o)".to_owned()));
    }
    let progress = Arc::new(Progress::new(progress && !quiet, 1.0));
    let help = asks_for_help(&lists);
    if let (true, Some(format)) = (help, &format) {
        return tell_options(format);
    }
    let [filename] = call.arguments() else {
        return Err(fail("Expecting one image file name"));
    };
    with.cache = cache(&mode, "Invalid cache option")?;
    with.format = format.as_deref();
    let image = Image::open(bql, filename, &with)?;
    let format = image.node.view(bql).driver().format_name();
    if help {
        return tell_options(format);
    }
    let options = block_open::amendment(format, &lists);
    let options = options.map_err(|error| because("", &error))?;
    progress.is_at(0.0);
    let told = Arc::clone(&progress);
    let tell = move |done, all| told.is_at((done as f64 * 100.0 / all as f64) as f32);
    let mut section = image.node.drain(bql);
    let amended = section.amend_options_telling(&options, force, Box::new(tell));
    drop(section);
    progress.is_at(100.0);
    amended.map_err(|error| match &error {
        GraphError::Io(error) => resize::refused(error),
        error => because("", error),
    })?;
    image.close(bql);
    Ok(0)
}

fn tell_options(format: &str) -> Result<u8, Failed> {
    let help = block_open::amendment_help(format);
    say(&help.map_err(|error| because("", &error))?);
    Ok(0)
}
