//! `commit`: what an image has, into its backing image.

use block_drivers::Commit;
use block_gs::{BqlGuard, inactivate_all};

use super::call::{Call, Command, Failed, because, fail, size, strerror};
use super::image::{Image, OpenAs, cache};
use super::progress::Progress;
use super::say;
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
    let base = match &base {
        Some(base) => view.find_backing_image(bql, base).ok_or_else(|| {
            fail(format!(
                "Did not find '{base}' in the backing chain of '{filename}'"
            ))
        })?,
        None => view
            .backing_chain_next()
            .ok_or_else(|| fail("Image does not have a backing file"))?,
    };
    let base = base.node(bql);
    let top = image.node.view(bql).skip_filters().node(bql);
    let committed = Commit::of(&top)
        .into_base(&base)
        .keep(drops)
        .rate(rate)
        .progress(|done, all| progress.is_at((done as f64 * 100.0 / all as f64) as f32))
        .run(bql);
    committed.map_err(|error| because("", &error))?;
    progress.is_at(100.0);
    drop((top, base));
    drop(progress);
    // What is written when an image is given up is part of it.
    if let Err(error) = inactivate_all(bql) {
        let reason = strerror(error.errno());
        return Err(fail(format!("Error while closing the image: {reason}")));
    }
    image.close(bql);
    if !quiet {
        say("Image committed.\n");
    }
    Ok(0)
}
