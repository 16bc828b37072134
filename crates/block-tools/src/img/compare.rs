//! `compare`: whether two images read the same.

use std::mem;

use block_gs::{BqlGuard, IoThread};
use block_io::aio::AioContext;
use block_io::{Buffer, IoError, StatusFlags};

use super::call::{Call, Command, Failed, because, fail, reason};
use super::image::{Contents, Image, OpenAs, SECTOR, cache};
use super::progress::Progress;
use super::say;
use crate::getopt::Known;

pub(super) static COMMAND: Command = Command {
    name: "compare",
    about: "Tells whether two images read the same",
    usage: "[-f FMT] [-F FMT] [--image-opts] [-s] [-T CACHE] [-p] [-q] [-U] FILE1 FILE2",
    help: "  -f, --a-format FMT    what the first image is; without, it is looked into
  -F, --b-format FMT    what the second one is
      --image-opts      both are strings of options
  -s, --strict          they have to have the same length, and to be allocated
                        in the same places
  -T, --cache CACHE     how they are read: none, writeback, ...
  -p, --progress        tells how far it is
  -q, --quiet           says nothing but errors
  -U, --force-share     looks even if somebody else is writing
      --object OBJECT   makes an object that options refer to

Behind its end a shorter image counts as zeroes.

The exit code is 0 if they are the same, 1 if they are not, 2 if one could not
be opened, 3 if it could not be found out what is allocated, 4 for a read error.
",
    known: &[
        Known::both('h', "help"),
        Known::both('f', "a-format").value(),
        Known::name("left-format").value(),
        Known::both('F', "b-format").value(),
        Known::name("right-format").value(),
        Known::name("image-opts"),
        Known::both('s', "strict"),
        Known::both('T', "cache").value(),
        Known::both('p', "progress"),
        Known::both('q', "quiet"),
        Known::both('U', "force-share"),
        Known::name("object").value(),
    ],
    run,
};

/// How much is read at once.
const AT_ONCE: u64 = 2 << 20;

/// One of the images.
struct Side<'c> {
    name: &'c str,
    contents: Contents,
    buffer: Buffer,
}

/// What is known of the beginning of a range.
#[derive(Clone, Copy)]
struct Status {
    flags: StatusFlags,
    has_place: bool,
    bytes: u64,
}

impl Status {
    fn is_zero(self) -> bool {
        self.flags.contains(StatusFlags::ZERO)
    }

    fn is_allocated(self) -> bool {
        self.flags.contains(StatusFlags::ALLOCATED)
    }
}

impl Side<'_> {
    fn length(&self) -> u64 {
        self.contents.length()
    }

    async fn look(&self, offset: u64) -> Result<Status, Failed> {
        let bytes = self.length() - offset;
        let looked = self.try_look(offset, bytes).await;
        looked.map_err(|_| fail(format!("Sector allocation test failed for {}", self.name)).code(3))
    }

    async fn try_look(&self, offset: u64, bytes: u64) -> Result<Status, IoError> {
        let stored = self.contents.stored(offset, bytes);
        if stored > 0 {
            let in_flight = self.contents.root().begin().await;
            let request = in_flight.request()?;
            let (status, _) = request
                .block_status_above(None, offset, stored, true)
                .await?;
            if status.bytes > 0 {
                return Ok(Status {
                    flags: status.flags,
                    has_place: status.at.is_some(),
                    bytes: status.bytes,
                });
            }
        }
        Ok(Status {
            flags: StatusFlags::ZERO | StatusFlags::ALLOCATED,
            has_place: true,
            bytes,
        })
    }

    async fn read(&mut self, offset: u64, bytes: u64) -> Result<(), Failed> {
        let read = self.contents.read(offset, &mut self.buffer, bytes as usize);
        let read = read.await;
        self.check(offset, read)
    }

    fn check(&self, offset: u64, read: Result<(), IoError>) -> Result<(), Failed> {
        read.map_err(|error| {
            fail(format!(
                "Error while reading offset {offset} of {}: {}",
                self.name,
                reason(&error)
            ))
            .code(4)
        })
    }

    /// Where the first sector begins that is not all zeroes.
    async fn find_data(&mut self, offset: u64, bytes: u64) -> Result<Option<u64>, Failed> {
        self.read(offset, bytes).await?;
        let mut sectors = self.buffer.as_slice()[..bytes as usize].chunks(SECTOR as usize);
        let found = sectors.position(|sector| sector.iter().any(|byte| *byte != 0));
        Ok(found.map(|at| offset + at as u64 * SECTOR))
    }
}

/// What makes them differ, in a line.
type Difference = Option<String>;

fn mismatch(offset: u64) -> Difference {
    Some(format!("Content mismatch at offset {offset}!"))
}

fn run(bql: &mut BqlGuard, call: &Call<'_>) -> Result<u8, Failed> {
    let (mut formats, mut mode) = ([None, None], "writeback".to_owned());
    let (mut strict, mut progress, mut quiet) = (false, false, false);
    let mut with = OpenAs::default();
    let options = call.each(bql, |name, value| {
        match name {
            "a-format" | "left-format" => formats[0] = Some(value.to_owned()),
            "b-format" | "right-format" => formats[1] = Some(value.to_owned()),
            "image-opts" => with.image_opts = true,
            "strict" => strict = true,
            "cache" => mode = value.to_owned(),
            "progress" => progress = true,
            "quiet" => quiet = true,
            "force-share" => with.force_share = true,
            _ => {}
        }
        Ok(())
    });
    // An object that cannot be made counts as an image that cannot be opened.
    options.map_err(|error| match error {
        Failed::Report(..) => error.code(2),
        error => error,
    })?;
    let [first, second] = call.arguments() else {
        return Err(Failed::Usage("Expecting two image file names".to_owned()));
    };
    let progress = Progress::new(progress && !quiet, 2.0);
    with.cache = cache(&mode, "Invalid source cache option").map_err(|error| error.code(2))?;
    let open = |bql: &mut BqlGuard, name, format: &Option<String>| {
        let with = OpenAs {
            format: format.as_deref(),
            ..with
        };
        Image::open(bql, name, &with).map_err(|error| error.code(2))
    };
    let images = [
        open(bql, first, &formats[0])?,
        open(bql, second, &formats[1])?,
    ];
    let mut side = |name, image: &Image| {
        let contents = image.contents(bql).map_err(|error| {
            fail(format!("Can't get size of {name}: {}", reason(&error))).code(4)
        })?;
        let limits = image.node.view(bql).limits();
        let alignment = limits.optimal_memory_alignment.max(4096) as usize;
        Ok(Side {
            name,
            contents,
            buffer: Buffer::with_alignment(AT_ONCE as usize, alignment),
        })
    };
    let mut sides = [
        side(first.as_str(), &images[0])?,
        side(second.as_str(), &images[1])?,
    ];
    let tell = |text: &str| match quiet {
        true => {}
        false => say(&format!("{text}\n")),
    };
    let reader = IoThread::create(bql, "compare").map_err(|error| because("", &error).code(4))?;
    let there = reader.context().clone();
    match bql.block_on(compare(&mut sides, &there, strict, &progress, &tell))? {
        Some(difference) => {
            tell(&difference);
            Ok(1)
        }
        None => {
            tell("Images are identical.");
            Ok(0)
        }
    }
}

/// Reads both at the same time, the second one `there`.
async fn read_both(
    first: &mut Side<'_>,
    second: &mut Side<'_>,
    there: &AioContext,
    offset: u64,
    bytes: u64,
) -> Result<(), Failed> {
    let contents = second.contents.clone();
    let mut buffer = mem::replace(&mut second.buffer, Buffer::with_alignment(0, 1));
    let reading = there.spawn(async move {
        let read = contents.read(offset, &mut buffer, bytes as usize).await;
        (buffer, read)
    });
    let read = first.read(offset, bytes).await;
    let (buffer, also_read) = reading.await;
    second.buffer = buffer;
    read?;
    second.check(offset, also_read)
}

async fn compare(
    sides: &mut [Side<'_>; 2],
    there: &AioContext,
    strict: bool,
    progress: &Progress,
    tell: &impl Fn(&str),
) -> Result<Difference, Failed> {
    let [first, second] = sides;
    let lengths = [first.length(), second.length()];
    let (shorter, longer) = (lengths[0].min(lengths[1]), lengths[0].max(lengths[1]));
    progress.is_at(0.0);
    if strict && shorter != longer {
        return Ok(Some("Strict mode: Image size mismatch!".to_owned()));
    }
    let percent = |bytes: u64| bytes as f32 / longer as f32 * 100.0;
    let mut offset = 0;
    while offset < shorter {
        let (one, other) = (first.look(offset).await?, second.look(offset).await?);
        let mut bytes = one.bytes.min(other.bytes).min(shorter - offset);
        if strict && (one.flags, one.has_place) != (other.flags, other.has_place) {
            let text = format!("Strict mode: Offset {offset} block status mismatch!");
            return Ok(Some(text));
        }
        if one.is_zero() && other.is_zero() || !one.is_allocated() && !other.is_allocated() {
            // Nothing to look at.
        } else if one.is_allocated() && other.is_allocated() {
            bytes = bytes.min(AT_ONCE);
            read_both(first, second, there, offset, bytes).await?;
            if let Some(at) = first_difference(&first.buffer, &second.buffer, bytes as usize) {
                return Ok(mismatch(offset + at));
            }
        } else {
            bytes = bytes.min(AT_ONCE);
            let side = if one.is_allocated() {
                &mut *first
            } else {
                &mut *second
            };
            if let Some(at) = side.find_data(offset, bytes).await? {
                return Ok(mismatch(at));
            }
        }
        offset += bytes;
        progress.add(percent(bytes));
    }
    if shorter == longer {
        return Ok(None);
    }
    tell("Warning: Image size mismatch!");
    let rest = if lengths[0] > lengths[1] {
        first
    } else {
        second
    };
    while offset < longer {
        let known = rest.look(offset).await?;
        let mut bytes = known.bytes.min(longer - offset);
        if known.is_allocated() && !known.is_zero() {
            bytes = bytes.min(AT_ONCE);
            if let Some(at) = rest.find_data(offset, bytes).await? {
                return Ok(mismatch(at));
            }
        }
        offset += bytes;
        progress.add(percent(bytes));
    }
    Ok(None)
}

/// Where the first sector begins in which they differ.
fn first_difference(one: &Buffer, other: &Buffer, bytes: usize) -> Option<u64> {
    let (one, other) = (&one.as_slice()[..bytes], &other.as_slice()[..bytes]);
    if one == other {
        return None;
    }
    let sector = SECTOR as usize;
    let mut pairs = one.chunks(sector).zip(other.chunks(sector));
    let at = pairs.position(|(one, other)| one != other)?;
    Some(at as u64 * SECTOR)
}
