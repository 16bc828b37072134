//! `map`: where the contents of an image are.

use std::fmt::Write;

use block_gs::BqlGuard;
use block_io::{IoError, NodeUid, Request, StatusFlags};

use super::call::{Call, Command, Failed, Output, because, fail, size};
use super::image::{Contents, Image, OpenAs};
use super::{info, say};
use crate::getopt::Known;

pub(super) static COMMAND: Command = Command {
    name: "map",
    about: "Tells where the contents of an image are, along its backing chain",
    usage: "[-f FMT | --image-opts] [--start-offset OFFSET] [--max-length LENGTH]\n         \
            [--output human|json] [-U] FILE",
    help: "  -f, --format FMT           what the image is; without, it is looked into
      --image-opts           FILE is a string of options
  -s, --start-offset OFFSET  begins there
  -l, --max-length LENGTH    looks at so much
  -U, --force-share          looks even if somebody else is writing
      --output OFMT          human: what is data, and in which file;
                             json: everything, for programs
      --object OBJECT        makes an object that options refer to

In json, depth says how many images down the chain it is decided what is read,
present whether any of them decides, zero whether that is zeroes, data whether
something is stored for it, and offset where, in the file of that image.
",
    known: &[
        Known::both('h', "help"),
        Known::both('f', "format").value(),
        Known::name("image-opts"),
        Known::both('s', "start-offset").value(),
        Known::both('l', "max-length").value(),
        Known::both('U', "force-share"),
        Known::name("output").value(),
        Known::name("object").value(),
    ],
    run,
};

/// What is known of a range (`MapEntry`).
#[derive(Clone, Debug, Default)]
struct Entry {
    start: u64,
    length: u64,
    depth: usize,
    flags: StatusFlags,
    at: Option<(NodeUid, u64)>,
}

impl Entry {
    /// Whether `next`, which begins where this ends, belongs to it.
    fn goes_on(&self, next: &Entry) -> bool {
        let place = match (self.at, next.at) {
            (None, None) => true,
            (Some((node, offset)), Some((other, begin))) => {
                node == other && offset.checked_add(self.length) == Some(begin)
            }
            _ => false,
        };
        self.length > 0 && self.flags == next.flags && self.depth == next.depth && place
    }

    fn json(&self) -> String {
        let has = |flag| self.flags.contains(flag);
        let mut text = format!(
            "{{ \"start\": {}, \"length\": {}, \"depth\": {}, \"present\": {}, \"zero\": {}, \
             \"data\": {}, \"compressed\": {}",
            self.start,
            self.length,
            self.depth,
            has(StatusFlags::ALLOCATED),
            has(StatusFlags::ZERO),
            has(StatusFlags::DATA),
            has(StatusFlags::COMPRESSED),
        );
        if let Some((_, offset)) = self.at {
            let _ = write!(text, ", \"offset\": {offset}");
        }
        text.push('}');
        text
    }

    /// A line, if it is data.
    fn human(&self, name: impl FnOnce(NodeUid) -> String) -> Result<String, Failed> {
        if !self.flags.contains(StatusFlags::DATA) {
            return Ok(String::new());
        }
        let Some((node, offset)) = self.at else {
            return Err(fail(
                "File contains external, encrypted or compressed clusters.",
            ));
        };
        if self.flags.contains(StatusFlags::ZERO) {
            return Ok(String::new());
        }
        // A zero has no prefix.
        let hex = |number: u64| match number {
            0 => "0".to_owned(),
            number => format!("{number:#x}"),
        };
        Ok(format!(
            "{:<16}{:<16}{:<16}{}\n",
            hex(self.start),
            hex(self.length),
            hex(offset),
            name(node)
        ))
    }
}

/// Facts that a line for programs tells.
const TOLD: StatusFlags = StatusFlags::DATA
    .union(StatusFlags::ZERO)
    .union(StatusFlags::ALLOCATED)
    .union(StatusFlags::COMPRESSED);

/// What is known of the beginning of a range, in the first image of the chain
/// that knows something.
async fn look(image: &Contents, start: u64, bytes: u64) -> Result<Entry, IoError> {
    let in_flight = image.root().begin().await;
    let mut at: Request<'_> = in_flight.request()?;
    let stored = image.stored(start, bytes);
    if stored == 0 {
        // The rest of the last sector, stored behind the end of the file.
        let end = image.stored(0, u64::MAX);
        let mut entry = match end {
            0 => Entry::default(),
            end => Box::pin(look(image, end - 1, 1)).await?,
        };
        entry.at = entry
            .at
            .map(|(node, offset)| (node, offset + start - (end - 1)));
        return Ok(Entry {
            start,
            length: bytes,
            flags: StatusFlags::ZERO | StatusFlags::ALLOCATED,
            ..entry
        });
    }
    let mut length = stored;
    for depth in 0.. {
        while let Some(below) = at.filtered() {
            at = below;
        }
        let status = at.block_status(start, length, true).await?;
        length = match status.bytes {
            // It has become shorter meanwhile.
            0 => length,
            bytes => bytes,
        };
        let mut entry = Entry {
            start,
            length,
            depth,
            flags: status.flags & TOLD,
            at: status.at.map(|(node, offset)| (node.uid(), offset)),
        };
        if entry
            .flags
            .intersects(StatusFlags::ZERO | StatusFlags::DATA)
        {
            return Ok(entry);
        }
        match at.cow() {
            Some(below) => at = below,
            None => {
                entry.flags = StatusFlags::empty();
                entry.at = None;
                return Ok(entry);
            }
        }
    }
    Ok(Entry::default())
}

fn run(bql: &mut BqlGuard, call: &Call<'_>) -> Result<u8, Failed> {
    let (mut format, mut output, mut with) = (None, Output::Human, OpenAs::default());
    let (mut start, mut most) = (0, None);
    call.each(bql, |name, value| {
        match name {
            "format" => format = Some(value.to_owned()),
            "image-opts" => with.image_opts = true,
            "force-share" => with.force_share = true,
            "output" => output = Output::parse(value)?,
            "start-offset" => start = size("start offset", value)?,
            "max-length" => most = Some(size("max length", value)?),
            _ => {}
        }
        Ok(())
    })?;
    let filename = call.filename()?;
    with.format = format.as_deref();
    let image = Image::open(bql, filename, &with)?;
    let contents = image.contents(bql);
    let contents = contents.map_err(|_| fail(format!("Failed to get size for '{filename}'")))?;
    let length = contents.length();
    let end = most.map_or(length, |most: u64| start.saturating_add(most).min(length));
    let mut table = Table::new(output);
    let mut current = Entry {
        start,
        ..Entry::default()
    };
    while current.start + current.length < end {
        let offset = current.start + current.length;
        let looked = bql.block_on(look(&contents, offset, end - offset));
        let mut next = looked.map_err(|error| {
            table.print();
            because("Could not read file metadata: ", &error)
        })?;
        if output == Output::Human && !is_data(&next) {
            // For people all of this is alike.
            next.flags = (next.flags | StatusFlags::ZERO) & !StatusFlags::DATA;
        }
        if current.goes_on(&next) {
            current.length += next.length;
            continue;
        }
        if current.length > 0 {
            table.add(bql, &current, true)?;
        }
        current = next;
    }
    table.add(bql, &current, false)?;
    table.end();
    Ok(0)
}

fn is_data(entry: &Entry) -> bool {
    entry.flags.contains(StatusFlags::DATA) && !entry.flags.contains(StatusFlags::ZERO)
}

/// What is printed, in parts that are not too large.
struct Table {
    output: Output,
    text: String,
}

impl Table {
    fn new(output: Output) -> Self {
        let text = match output {
            Output::Human => format!("{:<16}{:<16}{:<16}File\n", "Offset", "Length", "Mapped to"),
            Output::Json => "[".to_owned(),
        };
        Table { output, text }
    }

    fn add(&mut self, bql: &BqlGuard, entry: &Entry, more: bool) -> Result<(), Failed> {
        match self.output {
            Output::Json => {
                self.text += &entry.json();
                self.text += if more { ",\n" } else { "" };
            }
            Output::Human => {
                let name = |uid| {
                    let mut nodes = block_gs::nodes(bql);
                    let node = nodes.find(|node| node.io().uid() == uid);
                    node.map_or(String::new(), |node| info::filename(bql, node))
                };
                match entry.human(name) {
                    Ok(line) => self.text += &line,
                    Err(error) => {
                        self.print();
                        return Err(error);
                    }
                }
            }
        }
        if self.text.len() > 1 << 16 {
            self.print();
        }
        Ok(())
    }

    fn print(&mut self) {
        say(&std::mem::take(&mut self.text));
    }

    fn end(mut self) {
        if self.output == Output::Json {
            self.text += "]\n";
        }
        self.print();
    }
}
