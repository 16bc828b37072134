//! `measure`: how much storage an image would take.

use block_common::Value;
use block_gs::{BqlGuard, GraphError, Measurement};
use block_io::{IoError, StatusFlags};

use super::call::{Call, Command, Failed, Output, because, fail, size};
use super::image::{Image, OpenAs};
use super::snapshot::{self, Shown};
use super::source::{add_list, option_in};
use super::{json, say};
use crate::getopt::Known;

pub(super) static COMMAND: Command = Command {
    name: "measure",
    about: "Tells how much storage an image would take",
    usage: "[-O FMT] [-o OPTIONS] [-f FMT | --image-opts] [-l SNAPSHOT] [-U]\n         \
            [--output human|json] (--size SIZE | FILE)",
    help: "  -O, --target-format FMT  what it is to be; raw without
  -o, --options OPTIONS    options with which it would be made
      --size SIZE          tells it of an empty image of this size
  -f, --format FMT         what FILE is; without, it is looked into
      --image-opts         FILE is a string of options
  -l, --snapshot SNAPSHOT  of this snapshot of FILE
  -U, --force-share        looks even if somebody else is writing
      --output OFMT        human, or json for programs
      --object OBJECT      makes an object that options refer to

The required size is that of the file when `convert` is done, the fully
allocated size what it may grow to.
",
    known: &[
        Known::both('h', "help"),
        Known::both('O', "target-format").value(),
        Known::both('o', "options").value(),
        Known::name("size").value(),
        Known::both('f', "format").value(),
        Known::name("image-opts"),
        Known::both('l', "snapshot").value(),
        Known::both('U', "force-share"),
        Known::name("output").value(),
        Known::name("object").value(),
    ],
    run,
};

fn run(bql: &mut BqlGuard, call: &Call<'_>) -> Result<u8, Failed> {
    let (mut format, mut made, mut with) = (None, "raw".to_owned(), OpenAs::default());
    let (mut lists, mut bytes, mut shown) = (Vec::new(), None, None);
    let mut output = Output::Human;
    call.each(bql, |name, value| {
        match name {
            "target-format" => value.clone_into(&mut made),
            "options" => add_list(&mut lists, value)?,
            "size" => bytes = Some(size("image size", value)?),
            "format" => format = Some(value.to_owned()),
            "image-opts" => with.image_opts = true,
            "snapshot" => shown = Some(Shown::parse(value)?),
            "force-share" => with.force_share = true,
            "output" => output = Output::parse(value)?,
            _ => {}
        }
        Ok(())
    })?;
    let filename = match call.arguments() {
        [] => None,
        [filename] => Some(filename),
        _ => return Err(fail("At most one filename argument is allowed.")),
    };
    let of_file = with.image_opts || format.is_some() || shown.is_some();
    match (filename, bytes) {
        (None, _) if of_file => {
            let text = "--image-opts, -f, and -l require a filename argument.";
            return Err(fail(text));
        }
        (Some(_), Some(_)) => {
            let text = "--size N cannot be used together with a filename.";
            return Err(fail(text));
        }
        (None, None) => {
            let text = "Either --size N or one filename must be specified.";
            return Err(fail(text));
        }
        _ => {}
    }
    with.format = format.as_deref();
    let image = filename.map(|filename| Image::open(bql, filename, &with));
    let image = image.transpose()?;
    if let (Some(image), Some(shown)) = (&image, &shown) {
        snapshot::show(bql, &image.node, shown)?;
    }
    // It says which formats and options there are.
    let checked = block_open::ImageSpec::new("measured", &made)
        .size(0)
        .plan(bql);
    drop(checked.map_err(|error| because("", &error))?);
    // What is below does not count, so it need not be said what it is.
    let no_format = option_in(&lists, "backing_fmt").is_none();
    let has_base = option_in(&lists, "backing_file").is_some();
    if has_base && no_format {
        lists.push("backing_fmt=raw".to_owned());
    }
    if !lists.is_empty() {
        let mut spec = block_open::ImageSpec::new("measured", &made).trust_base(true);
        for list in &lists {
            spec = spec.options(list);
        }
        if let Err(error) = spec.options("size=0").plan(bql) {
            call.end(Err(because("", &error)));
            let text = format!("Invalid options for file format '{made}'");
            return Err(fail(text));
        }
    }
    let given = option_in(&lists, "size").and_then(|text| block_open::parse_size(&text).ok());
    let length = match &image {
        Some(image) => image.length(bql).map_err(|error| because("", &error))?,
        None => bytes.or(given).unwrap_or(0),
    };
    let mut spec = block_open::ImageSpec::new("measured", &made).trust_base(true);
    for list in &lists {
        spec = spec.options(list);
    }
    let planned = spec.options(&format!("size={length}")).plan(bql);
    let mut kept = None;
    let measured = planned.and_then(|planned| {
        planned.measure(|unit| {
            let Some(image) = &image else { return Ok(0) };
            kept = bitmaps(bql, image, unit);
            if has_base {
                // Nobody knows what it shares with the base: perhaps nothing.
                return Ok(length);
            }
            count(bql, image, unit).map_err(|error| GraphError::from(error).into())
        })
    });
    let mut measured = measured.map_err(|error| because("", &error))?;
    measured.bitmaps = measured.bitmaps.and(kept);
    say(&match output {
        Output::Human => text(&measured),
        Output::Json => json::pretty(&value(&measured)) + "\n",
    });
    Ok(0)
}

/// How many bytes the bitmaps take that are kept with the image, in clusters
/// of `cluster` bytes: as if each of them were stored whole. `None` for an
/// image that keeps none.
fn bitmaps(bql: &BqlGuard, image: &Image, cluster: u64) -> Option<u64> {
    if !image.node.supports_persistent_bitmaps(bql) {
        return None;
    }
    let length = image.node.length(bql);
    let (mut sum, mut directory) = (0, 0);
    for bitmap in image.node.bitmaps(bql) {
        if !bitmap.is_persistent() || bitmap.is_inconsistent() {
            continue;
        }
        let info = bitmap.info();
        let bytes = length.div_ceil(info.granularity).div_ceil(8);
        let clusters = bytes.div_ceil(cluster);
        sum += clusters * cluster + (clusters * 8).next_multiple_of(cluster);
        // An entry of the directory.
        directory += (24 + info.name.len() as u64).next_multiple_of(8);
    }
    Some(sum + u64::next_multiple_of(directory, cluster))
}

/// How many bytes of the image are data, in whole units.
fn count(bql: &mut BqlGuard, image: &Image, unit: u64) -> Result<u64, IoError> {
    let contents = image.contents(bql)?;
    let length = contents.length();
    let unit = unit.max(1);
    bql.block_on(async {
        let (mut sum, mut offset) = (0, 0);
        while offset < length {
            let status = contents.status(None, offset, length - offset).await?;
            let mut end = offset + status.bytes;
            let is_data = StatusFlags::DATA | StatusFlags::ALLOCATED;
            if status.flags.contains(is_data) && !status.flags.contains(StatusFlags::ZERO) {
                // From here on to the end of a unit.
                end = end.next_multiple_of(unit).min(length);
                let begin = offset - offset % unit;
                sum += (end - begin).next_multiple_of(unit);
            }
            offset = end;
        }
        Ok(sum)
    })
}

fn text(measured: &Measurement) -> String {
    let mut text = format!(
        "required size: {}\nfully allocated size: {}\n",
        measured.required, measured.fully_allocated
    );
    if let Some(bitmaps) = measured.bitmaps {
        text += &format!("bitmaps size: {bitmaps}\n");
    }
    text
}

fn value(measured: &Measurement) -> Value {
    let mut entries = vec![
        ("required", measured.required.into()),
        ("fully-allocated", measured.fully_allocated.into()),
    ];
    if let Some(bitmaps) = measured.bitmaps {
        entries.push(("bitmaps", bitmaps.into()));
    }
    Value::map(entries)
}
