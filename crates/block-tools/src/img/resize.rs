//! `resize`: longer or shorter images.

use block_gs::BqlGuard;
use block_io::Preallocation;

use super::call::{Call, Command, Failed, because, fail};
use super::image::{Image, OpenAs};
use super::say;
use crate::getopt::{Known, Word, Words};

pub(super) static COMMAND: Command = Command {
    name: "resize",
    about: "Makes an image longer or shorter",
    usage: "[-f FMT | --image-opts] [--preallocation MODE] [--shrink] [-q] FILE [+-]SIZE",
    help: "  -f, --format FMT          what the image is; without, it is looked into
      --image-opts          FILE is a string of options
      --shrink              allows it to become shorter: what is behind its new
                            end is lost
      --preallocation MODE  what is allocated of the new part: off, metadata,
                            falloc or full
  -q, --quiet               says nothing but errors
      --object OBJECT       makes an object that options refer to

SIZE is the new length, or with + or - before it how much longer or shorter.
The guest's partitions and file systems are not changed: shrink them before,
grow them afterwards.
",
    known: &[
        Known::both('h', "help"),
        Known::both('f', "format").value(),
        Known::name("image-opts"),
        Known::name("shrink"),
        Known::name("preallocation").value(),
        Known::both('q', "quiet"),
        Known::name("object").value(),
    ],
    run,
};

/// The new length.
enum Length {
    Absolute(u64),
    Longer(u64),
    Shorter(u64),
}

impl Length {
    fn parse(text: &str) -> Result<Length, Failed> {
        let (make, digits): (fn(u64) -> Length, _) = match text.split_at_checked(1) {
            Some(("+", digits)) => (Length::Longer, digits),
            Some(("-", digits)) => (Length::Shorter, digits),
            _ => (Length::Absolute, text),
        };
        match block_open::parse_size(digits) {
            Ok(bytes) => Ok(make(bytes)),
            Err(block_open::SizeError::Range) => Err(fail(format!(
                "Value '{digits}' is out of range for parameter 'size'"
            ))),
            Err(block_open::SizeError::Syntax) => Err(Failed::Report(
                "Parameter 'size' expects a non-negative number below 2^64".to_owned(),
                Some(
                    "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, \
                     peta-\nand exabytes, respectively."
                        .to_owned(),
                ),
                1,
            )),
        }
    }

    /// The length of an image that has `now`, if there can be such.
    fn from(self, now: u64) -> Option<u64> {
        let length = match self {
            Length::Absolute(length) => Some(length),
            Length::Longer(bytes) => now.checked_add(bytes),
            Length::Shorter(bytes) => now.checked_sub(bytes),
        };
        length.filter(|length| *length > 0 && i64::try_from(*length).is_ok())
    }
}

fn run(bql: &mut BqlGuard, call: &Call<'_>) -> Result<u8, Failed> {
    let (mut format, mut with) = (None, OpenAs::default());
    let (mut shrink, mut quiet) = (false, false);
    let mut preallocation = Preallocation::Off;
    let mut each = |name: &str, value: &str| {
        match name {
            "format" => format = Some(value.to_owned()),
            "image-opts" => with.image_opts = true,
            "shrink" => shrink = true,
            "quiet" => quiet = true,
            "preallocation" => preallocation = parse_preallocation(value)?,
            _ => {}
        }
        Ok(())
    };
    let mut words = Words::new(call.known(), call.line());
    let (mut filename, mut size) = (None, None);
    while let Some(word) = words.next_word() {
        match word.map_err(|error| call.wrong(&error))? {
            Word::Option(name, value) => {
                call.option(bql, &name, value.as_deref().unwrap_or(""), &mut each)?;
            }
            Word::Argument(word) if filename.is_none() => {
                filename = Some(word);
                // Less of it looks like an option.
                size = words.take_if(is_less);
            }
            Word::Argument(word) if size.is_none() => size = Some(word),
            Word::Argument(_) => {
                let text = "Extra argument(s) in command line";
                return Err(Failed::Usage(text.to_owned()));
            }
        }
    }
    let (Some(filename), Some(size)) = (filename, size) else {
        let text = "Expecting image file name and size";
        return Err(Failed::Usage(text.to_owned()));
    };
    let wanted = Length::parse(&size)?;
    let with = OpenAs {
        format: format.as_deref(),
        writable: true,
        resizes: true,
        ..with
    };
    let image = Image::open(bql, &filename, &with)?;
    let now = image
        .length(bql)
        .map_err(|error| because("Failed to inquire current image length: ", &error))?;
    let Some(length) = wanted.from(now) else {
        return Err(fail("New image size must be positive"));
    };
    if length <= now && preallocation != Preallocation::Off {
        return Err(fail("Preallocation can only be used for growing images"));
    }
    if length < now && !shrink {
        call.report(&"Use the --shrink option to perform a shrink operation.");
        call.warn(
            &"Shrinking an image will delete all data beyond the shrunken image's end. Before \
              performing such an operation, make sure there is no important data there.",
        );
        return Err(Failed::Exit(1));
    }
    let root = image.root().clone();
    let resized = bql.block_on(root.truncate(length, true, preallocation));
    resized.map_err(|error| refused(&error))?;
    if !quiet {
        say("Image resized.\n");
    }
    image.close(bql);
    Ok(0)
}

/// An error of changing the length, with advice if a bitmap is to blame.
pub(super) fn refused(error: &dyn std::fmt::Display) -> Failed {
    let text = error.to_string();
    let advice = match text.starts_with("Bitmap '") && text.ends_with(IN_DOUBT) {
        true => Some("Try block-dirty-bitmap-remove to delete this bitmap from disk".to_owned()),
        false => None,
    };
    Failed::Report(text, advice, 1)
}

/// How the refusal ends because of a bitmap that may be out of date.
const IN_DOUBT: &str = "is inconsistent and cannot be used";

fn is_less(word: &str) -> bool {
    let digits = word.strip_prefix('-');
    digits.is_some_and(|digits| digits.starts_with(|letter: char| letter.is_ascii_digit()))
}

fn parse_preallocation(word: &str) -> Result<Preallocation, Failed> {
    match word {
        "off" => Ok(Preallocation::Off),
        "metadata" => Ok(Preallocation::Metadata),
        "falloc" => Ok(Preallocation::Falloc),
        "full" => Ok(Preallocation::Full),
        word => Err(fail(format!("Invalid preallocation mode '{word}'"))),
    }
}
