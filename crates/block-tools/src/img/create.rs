//! `create`: new images.

use block_gs::BqlGuard;
use block_open::ImageSpec;

use super::call::{Call, Command, Failed, because, size};
use super::say;
use super::source::{add_list, asks_for_help};
use crate::getopt::Known;

pub(super) static COMMAND: Command = Command {
    name: "create",
    about: "Makes a new image",
    usage: "[-f FMT] [-o OPTIONS] [-b BASE [-F FMT]] [-u] [-q] FILE [SIZE]",
    help: "  -f, --format FMT          what it is to be: raw, which is meant without, ...
  -o, --options OPTIONS     options of the format: key=value,...; -o help lists
                            them
  -b, --backing BASE        it has what BASE has wherever it has nothing itself
  -F, --backing-format FMT  what BASE is
  -u, --backing-unsafe      does not look whether BASE is there
  -q, --quiet               says nothing but errors
      --object OBJECT       makes an object that options refer to

What was in FILE is lost. Without SIZE the image is as large as BASE.
",
    known: &[
        Known::both('h', "help"),
        Known::both('q', "quiet"),
        Known::both('f', "format").value(),
        Known::name("object").value(),
        Known::both('o', "options").value(),
        Known::both('b', "backing").value(),
        Known::both('F', "backing-format").value(),
        Known::both('u', "backing-unsafe"),
    ],
    run,
};

fn run(bql: &mut BqlGuard, call: &Call<'_>) -> Result<u8, Failed> {
    let (mut format, mut lists) = ("raw".to_owned(), Vec::new());
    let (mut base, mut base_format) = (None, None);
    let (mut trust, mut quiet) = (false, false);
    call.each(bql, |name, value| {
        match name {
            "quiet" => quiet = true,
            "format" => value.clone_into(&mut format),
            "options" => add_list(&mut lists, value)?,
            "backing" => base = Some(value.to_owned()),
            "backing-format" => base_format = Some(value.to_owned()),
            "backing-unsafe" => trust = true,
            _ => {}
        }
        Ok(())
    })?;
    let mut arguments = call.arguments().iter();
    let filename = arguments.next();
    if asks_for_help(&lists) {
        return tell_options(&format, filename.map(String::as_str));
    }
    let filename = filename.ok_or_else(|| Failed::Usage("Expecting image file name".to_owned()))?;
    let mut spec = ImageSpec::new(filename, &format).trust_base(trust);
    if let Some(text) = arguments.next() {
        spec = spec.size(size("image size", text)?);
    }
    if let Some(unexpected) = arguments.next() {
        return Err(Failed::Usage(format!("Unexpected argument: {unexpected}")));
    }
    for list in &lists {
        spec = spec.options(list);
    }
    if let Some(base) = &base {
        spec = spec.base(base);
    }
    if let Some(format) = &base_format {
        spec = spec.base_format(format);
    }
    let failed = |error| because(format_args!("{filename}: "), &error);
    let planned = spec.plan(bql).map_err(failed)?;
    if !quiet {
        say(&format!("{planned}\n"));
    }
    planned.create_now(bql).map_err(failed)?;
    Ok(0)
}

/// What `-o help` prints.
pub(super) fn tell_options(format: &str, filename: Option<&str>) -> Result<u8, Failed> {
    let help = block_open::creation_help(format, filename);
    say(&help.map_err(|error| because("", &error))?);
    Ok(0)
}
