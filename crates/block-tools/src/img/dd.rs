//! `dd`: a part of an image as a new one.

use block_gs::BqlGuard;
use block_io::Buffer;
use block_open::ImageSpec;

use super::call::{Call, Command, Failed, because, fail, number, reason, size};
use super::image::{Image, OpenAs};
use crate::getopt::Known;

pub(super) static COMMAND: Command = Command {
    name: "dd",
    about: "Copies an image, or a part of it, block by block",
    usage: "[-f FMT | --image-opts] [-O FMT] [-U] [bs=SIZE] [count=N] [skip=N]\n         \
            if=FILE of=FILE",
    help: "  -f, --format FMT         what the input is; without, it is looked into
      --image-opts         the input is a string of options
  -O, --output-format FMT  what the output is to be; raw without
  -U, --force-share        reads even if somebody else is writing
      --object OBJECT      makes an object that options refer to
  if=FILE                  what is read
  of=FILE                  what is made; what was in it is lost
  bs=SIZE                  how much is copied at once; 512 without
  count=N                  ends after N blocks of the input
  skip=N                   begins behind N blocks of the input

`convert` is faster, and leaves out what is zeroes.
",
    known: &[
        Known::both('h', "help"),
        Known::both('f', "format").value(),
        Known::name("image-opts"),
        Known::both('O', "output-format").value(),
        Known::both('U', "force-share"),
        Known::name("object").value(),
    ],
    run,
};

/// What the arguments say.
struct Operands {
    block: u64,
    count: Option<u64>,
    skip: Option<u64>,
    from: Option<String>,
    to: Option<String>,
}

impl Operands {
    fn parse(arguments: &[String]) -> Result<Operands, Failed> {
        let mut operands = Operands {
            block: 512,
            count: None,
            skip: None,
            from: None,
            to: None,
        };
        for argument in arguments {
            let unrecognized = |name| fail(format!("unrecognized operand {name}"));
            let (name, value) = argument
                .split_once('=')
                .ok_or_else(|| unrecognized(argument.as_str()))?;
            match name {
                "bs" => operands.block = number("bs", value, 1, i32::MAX as u64)?,
                "count" => operands.count = Some(size("count", value)?),
                "skip" => operands.skip = Some(size("skip", value)?),
                "if" => operands.from = Some(value.to_owned()),
                "of" => operands.to = Some(value.to_owned()),
                name => return Err(unrecognized(name)),
            }
        }
        Ok(operands)
    }
}

fn run(bql: &mut BqlGuard, call: &Call<'_>) -> Result<u8, Failed> {
    let (mut format, mut made, mut with) = (None, "raw".to_owned(), OpenAs::default());
    call.each(bql, |name, value| {
        match name {
            "format" => format = Some(value.to_owned()),
            "image-opts" => with.image_opts = true,
            "output-format" => value.clone_into(&mut made),
            "force-share" => with.force_share = true,
            _ => {}
        }
        Ok(())
    })?;
    let operands = Operands::parse(call.arguments())?;
    let (Some(from), Some(to)) = (&operands.from, &operands.to) else {
        return Err(fail("Must specify both input and output files"));
    };
    with.format = format.as_deref();
    let source = Image::open(bql, from, &with)?;
    if block_open::Driver::find(&made).is_none() {
        return Err(fail("Unknown file format"));
    }
    let contents = source.contents(bql);
    let contents = contents.map_err(|_| fail(format!("Failed to get size for '{from}'")))?;
    let block = operands.block;
    let counted = operands.count.and_then(|count| count.checked_mul(block));
    let end = contents.length().min(counted.unwrap_or(u64::MAX));
    // What begins behind the end is nothing.
    let skipped = operands.skip.unwrap_or(0).checked_mul(block);
    let begin = skipped.filter(|skipped| *skipped <= end);
    let length = begin.map_or(0, |begin| end - begin);
    let planned = ImageSpec::new(to, &made).size(length).plan(bql);
    let planned = planned.map_err(|error| because("", &error))?;
    planned.create_now(bql).map_err(|error| {
        let before = format!("{to}: error while creating output image: ");
        because(before, &error)
    })?;
    let target = Image::open(
        bql,
        to,
        &OpenAs {
            format: Some(&made),
            writable: true,
            ..OpenAs::default()
        },
    )?;
    let Some(begin) = begin else {
        call.report(&format!("{from}: cannot skip to specified offset"));
        return Ok(0);
    };
    let root = target.root().clone();
    // No more than there is, however large the blocks.
    let mut buffer = Buffer::with_alignment(block.min(length.max(1)) as usize, 4096);
    bql.block_on(async {
        let mut at = begin;
        while at < end {
            let bytes = block.min(end - at);
            let read = contents.read(at, &mut buffer, bytes as usize).await;
            read.map_err(|error| {
                let reason = reason(&error);
                fail(format!(
                    "error while reading from input image file: {reason}"
                ))
            })?;
            let (part, _) = buffer.source().split_at(bytes as usize);
            root.write(at - begin, part).await.map_err(|error| {
                let reason = reason(&error);
                fail(format!(
                    "error while writing to output image file: {reason}"
                ))
            })?;
            at += bytes;
        }
        Ok(())
    })?;
    target.close(bql);
    Ok(0)
}
