//! `commit`: what an image has, into its backing image.

use block_gs::BqlGuard;

use super::call::{Call, Command, Failed, fail, size};
use super::image::{Image, OpenAs, cache};
use super::progress::Progress;
use crate::getopt::Known;

pub(super) static COMMAND: Command = Command {
    name: "commit",
    about: "Writes what an image has into its backing image",
    usage: "[-f FMT | --image-opts] [-t CACHE] [-b BASE] [-d] [-r RATE] [-p] [-q] FILE",
    help: "  -f, --format FMT     what the image is; without, it is looked into
      --image-opts     FILE is a string of options
  -t, --cache CACHE    how it is written: none, writeback, ...
  -b, --base BASE      the image of the chain that gets it, instead of the next
                       one; implies -d
  -d, --drop           does not empty FILE afterwards
  -r, --rate RATE      writes at most so many bytes a second
  -p, --progress       tells how far it is
  -q, --quiet          says nothing but errors
      --object OBJECT  makes an object that options refer to
",
    known: &[
        Known::both('h', "help"),
        Known::both('q', "quiet"),
        Known::both('p', "progress"),
        Known::both('f', "format").value(),
        Known::name("image-opts"),
        Known::both('t', "cache").value(),
        Known::both('d', "drop"),
        Known::both('b', "base").value(),
        Known::both('r', "rate").value(),
        Known::name("object").value(),
    ],
    run,
};

fn run(bql: &mut BqlGuard, call: &Call<'_>) -> Result<u8, Failed> {
    let (mut format, mut mode, mut base) = (None, "writeback".to_owned(), None);
    let (mut drops, mut rate) = (false, 0);
    let (mut progress, mut quiet) = (false, false);
    let mut with = OpenAs {
        writable: true,
        unmap: true,
        ..OpenAs::default()
    };
    call.each(bql, |name, value| {
        match name {
            "format" => format = Some(value.to_owned()),
            "image-opts" => with.image_opts = true,
            "cache" => value.clone_into(&mut mode),
            "base" => (base, drops) = (Some(value.to_owned()), true),
            "drop" => drops = true,
            "rate" => rate = size("rate limit", value)?,
            "progress" => progress = true,
            "quiet" => quiet = true,
            _ => {}
        }
        Ok(())
    })?;
    let filename = call.filename()?;
    with.cache = cache(&mode, "Invalid cache option")?;
    with.format = format.as_deref();
    let image = Image::open(bql, filename, &with)?;
    let progress = Progress::new(progress && !quiet, 1.0);
    progress.is_at(0.0);
    let view = image.node.view(bql);
    let target = match &base {
        Some(base) => view.find_backing_image(bql, base).ok_or_else(|| {
            fail(format!(
                "Did not find '{base}' in the backing chain of '{filename}'"
            ))
        })?,
        None => view
            .backing_chain_next()
            .ok_or_else(|| fail("Image does not have a backing file"))?,
    };
    let _ = (target, drops, rate);
    Err(fail("Not yet"))
}
