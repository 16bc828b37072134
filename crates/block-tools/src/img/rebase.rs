//! `rebase`: another backing image.

use std::sync::Arc;

use block_common::error::errno;
use block_common::paths;
use block_gs::{Backend, BqlGuard, Node, Perm};
use block_io::{Activity, BackingName, Buffer, IoError, IoNode, Root, StatusFlags, WriteFlags};
use block_open::Options;

use super::call::{Call, Command, Failed, because, fail, reason};
use super::image::{Contents, Image, OpenAs, backend, cache};
use super::progress::Progress;
use crate::getopt::Known;

pub(super) static COMMAND: Command = Command {
    name: "rebase",
    about: "Gives an image another backing image, or none",
    usage: "[-f FMT | --image-opts] [-b BASE [-F FMT] [-T CACHE]] [-u] [-c] [-t CACHE]\n         \
            [-p] [-q] [-U] FILE",
    help: "  -b, --backing BASE         what it is to be based on; \"\" for nothing
  -F, --backing-format FMT   what BASE is
  -u, --backing-unsafe       only notes the new name: what BASE has is taken to
                             be what the old one had
  -c, --compress             writes compressed
  -f, --format FMT           what the image is; without, it is looked into
      --image-opts           FILE is a string of options
  -t, --cache CACHE          how the image is written: none, writeback, ...
  -T, --backing-cache CACHE  how BASE is read
  -p, --progress             tells how far it is
  -q, --quiet                says nothing but errors
  -U, --force-share          reads BASE even if somebody else is writing it
      --object OBJECT        makes an object that options refer to

Without -u the image reads as before: where the old and the new backing image
differ, it gets what the old one has. If that is interrupted, nothing is lost.
",
    known: &[
        Known::both('h', "help"),
        Known::both('f', "format").value(),
        Known::name("image-opts"),
        Known::both('t', "cache").value(),
        Known::both('b', "backing").value(),
        Known::both('F', "backing-format").value(),
        Known::both('T', "backing-cache").value(),
        Known::both('u', "backing-unsafe"),
        Known::both('c', "compress"),
        Known::both('p', "progress"),
        Known::both('q', "quiet"),
        Known::both('U', "force-share"),
        Known::name("object").value(),
    ],
    run,
};

/// How much is looked at at once.
const AT_ONCE: u64 = 2 << 20;

fn run(bql: &mut BqlGuard, call: &Call<'_>) -> Result<u8, Failed> {
    let (mut format, mut with) = (None, OpenAs::default());
    let (mut base, mut base_format) = (None, None);
    let (mut mode, mut base_mode) = ("writeback".to_owned(), "writeback".to_owned());
    let (mut trust, mut compress, mut force_share) = (false, false, false);
    let (mut progress, mut quiet) = (false, false);
    call.each(bql, |name, value| {
        match name {
            "format" => format = Some(value.to_owned()),
            "image-opts" => with.image_opts = true,
            "cache" => value.clone_into(&mut mode),
            "backing" => base = Some(value.to_owned()),
            "backing-format" => base_format = Some(value.to_owned()),
            "backing-cache" => value.clone_into(&mut base_mode),
            "backing-unsafe" => trust = true,
            "compress" => compress = true,
            "progress" => progress = true,
            "quiet" => quiet = true,
            "force-share" => force_share = true,
            _ => {}
        }
        Ok(())
    })?;
    let filename = call.filename()?;
    if !trust && base.is_none() {
        let text = "Must specify backing file (-b) or use unsafe mode (-u)";
        return Err(Failed::Usage(text.to_owned()));
    }
    let progress = Progress::new(progress && !quiet, 2.0);
    progress.is_at(0.0);
    with.cache = cache(&mode, "Invalid cache option")?;
    let base_cache = cache(&base_mode, "Invalid source cache option")?;
    let with = OpenAs {
        format: format.as_deref(),
        writable: true,
        no_backing: trust,
        ..with
    };
    let image = Image::open(bql, filename, &with)?;
    let unfiltered = image.node.view(bql).skip_filters();
    let driver = block_open::Driver::find(unfiltered.driver().format_name());
    let unfiltered = unfiltered.node(bql);
    if compress && !driver.is_some_and(|driver| driver.can_compress()) {
        return Err(fail("Compression not supported for this file format"));
    }
    if let Some(format) = &base_format
        && block_open::Driver::find(format).is_none()
    {
        return Err(fail(format!("Invalid format name: '{format}'")));
    }
    let io = unfiltered.io().clone();
    let info = bql.block_on(async {
        let activity = Activity::begin(io).await;
        activity.request().info().await
    });
    let info = info.map_err(|_| fail("could not get block driver info"))?;
    let unit = match compress {
        true => info.cluster_size,
        false => info.subcluster_size,
    };
    let new = base.as_deref().filter(|base| !base.is_empty());
    if !trust {
        let with = OpenAs {
            format: base_format.as_deref(),
            force_share,
            cache: base_cache,
            ..OpenAs::default()
        };
        let sides = Sides::open(bql, &image, &unfiltered, new, &with)?;
        let mut flags = WriteFlags::empty();
        flags.set(WriteFlags::COMPRESSED, compress);
        let copy = Copy {
            root: image.root().clone(),
            image: unfiltered.io().clone(),
            length: image.length(bql).map_err(|error| {
                let reason = reason(&error);
                fail(format!("Could not get size of '{filename}': {reason}"))
            })?,
            unit: u64::from(unit.max(1)),
            flags,
            progress: &progress,
        };
        bql.block_on(copy.run(&sides))?;
    }
    let changed = change(
        bql,
        &unfiltered,
        new,
        base.as_deref(),
        base_format.as_deref(),
    );
    progress.is_at(100.0);
    changed?;
    drop(unfiltered);
    image.close(bql);
    Ok(0)
}

/// Notes the new backing image in the header.
fn change(
    bql: &mut BqlGuard,
    node: &Node,
    new: Option<&str>,
    said: Option<&str>,
    format: Option<&str>,
) -> Result<(), Failed> {
    let name = new.map(|file| BackingName { file, format });
    let changed = node
        .drain(bql)
        .io(async |request| request.change_backing_file(name).await);
    let said = said.unwrap_or("(null)");
    changed.map_err(|error: IoError| {
        let why = match error.errno() {
            errno::ENOSPC => "No space left in the file header".to_owned(),
            errno::EINVAL if new.is_some() && format.is_none() => {
                "backing format must be specified".to_owned()
            }
            _ => reason(&error),
        };
        fail(format!(
            "Could not change the backing file to '{said}': {why}"
        ))
    })
}

/// The old and the new backing image.
struct Sides {
    old: Option<Contents>,
    new: Option<Contents>,
    /// The backing image itself, and the one in its chain that is to take its
    /// place, if that is one: what has not changed between them need not be
    /// compared.
    within: Option<(Arc<IoNode>, Arc<IoNode>)>,
    _open: Vec<Backend>,
    _image: Option<Image>,
}

impl Sides {
    fn open(
        bql: &mut BqlGuard,
        image: &Image,
        unfiltered: &Node,
        name: Option<&str>,
        with: &OpenAs<'_>,
    ) -> Result<Sides, Failed> {
        let mut sides = Sides {
            old: None,
            new: None,
            within: None,
            _open: Vec::new(),
            _image: None,
        };
        let old = unfiltered.view(bql).cow_node().map(|node| node.node(bql));
        if let Some(old) = &old {
            let before = |bql: &BqlGuard| {
                format!("Could not reuse old backing file '{}': ", old.filename(bql))
            };
            let opened = backend(bql, old, Perm::CONSISTENT_READ, Perm::all());
            let opened = opened.map_err(|error| because(before(bql), &error))?;
            let contents = contents_of(bql, opened.root());
            sides.old = Some(contents.map_err(|error| {
                let name = old.filename(bql);
                fail(format!(
                    "Could not get size of '{name}': {}",
                    reason(&error)
                ))
            })?);
            sides._open.push(opened);
        }
        let Some(name) = name else {
            return Ok(sides);
        };
        let view = image.node.view(bql);
        let overlay = view
            .exact_filename(bql)
            .unwrap_or_else(|| view.filename(bql));
        let full = paths::full_backing_name(&overlay, name);
        let full = full.map_err(|error| because("Could not resolve backing filename: ", &error))?;
        let full = full.unwrap_or_default();
        let below = image.node.view(bql).find_backing_image(bql, &full);
        let below = below.map(|below| below.node(bql));
        let opened = match below {
            Some(below) => {
                let opened = backend(bql, &below, Perm::CONSISTENT_READ, Perm::all());
                let before = format!("Could not reuse backing file '{name}': ");
                let opened = opened.map_err(|error| because(before, &error))?;
                if let Some(old) = &old {
                    sides.within = Some((old.io().clone(), below.io().clone()));
                }
                opened
            }
            None => {
                let mut options = Options::new();
                if let Some(format) = with.format {
                    options.set("driver", format);
                }
                if with.force_share {
                    options.set("force-share", true);
                }
                let opened = block_open::for_filename(&full, options)
                    .and_then(|options| Image::open_options(bql, options, with));
                let before = format!("Could not open new backing file '{name}': ");
                let opened = opened.map_err(|error| because(before, &error))?;
                let backend = opened.backend.clone();
                sides._image = Some(opened);
                backend
            }
        };
        let contents = contents_of(bql, opened.root());
        sides.new = Some(contents.map_err(|error| {
            fail(format!(
                "Could not get size of '{name}': {}",
                reason(&error)
            ))
        })?);
        sides._open.push(opened);
        Ok(sides)
    }
}

fn contents_of(bql: &mut BqlGuard, root: &Root) -> Result<Contents, IoError> {
    let length = bql.block_on(root.length())?;
    Ok(Contents::new(root.clone(), length))
}

/// Copying what the new backing image lacks.
struct Copy<'c> {
    root: Root,
    image: Arc<IoNode>,
    length: u64,
    /// Parts of this size are written as a whole.
    unit: u64,
    flags: WriteFlags,
    progress: &'c Progress,
}

fn metadata(error: &IoError) -> Failed {
    fail(format!(
        "error while reading image metadata: {}",
        reason(error)
    ))
}

impl Copy<'_> {
    async fn run(&self, sides: &Sides) -> Result<(), Failed> {
        let mut buffers = [
            Buffer::with_alignment(AT_ONCE as usize, 4096),
            Buffer::with_alignment(AT_ONCE as usize, 4096),
        ];
        let step = match self.length {
            0 => 0.0,
            length => 100.0 / (length / length.min(AT_ONCE)) as f32,
        };
        let mut offset = 0;
        while offset < self.length {
            let (begin, end) = match self.next(sides, offset).await? {
                Part::Same(end) => {
                    offset = end;
                    continue;
                }
                Part::Differs(begin, end) => (begin, end),
            };
            self.compare(sides, begin, end, &mut buffers).await?;
            offset = end;
            self.progress.add(step);
        }
        Ok(())
    }

    /// What is to be done from `offset` on.
    async fn next(&self, sides: &Sides, offset: u64) -> Result<Part, Failed> {
        let most = AT_ONCE.min(self.length - offset);
        let activity = Activity::begin(self.image.clone()).await;
        let request = activity.request();
        let (is_here, bytes) = request
            .is_allocated(offset, most)
            .await
            .map_err(|error| metadata(&error))?;
        let mut bytes = if bytes == 0 { most } else { bytes };
        if is_here {
            return Ok(Part::Same(offset + bytes));
        }
        if let Some((old, new)) = &sides.within {
            let stored = sides
                .old
                .as_ref()
                .map_or(0, |old| old.stored(offset, bytes));
            if stored > 0 {
                let above = Activity::begin(old.clone()).await;
                let asked = above
                    .request()
                    .block_status_above(Some(new), offset, stored, false);
                let (status, _) = asked.await.map_err(|error| metadata(&error))?;
                if status.bytes > 0 {
                    bytes = status.bytes;
                    if !status.flags.contains(StatusFlags::ALLOCATED) {
                        return Ok(Part::Same(offset + bytes));
                    }
                }
            }
        }
        // Whole units, so that nothing has to be read to write them.
        let begin = offset - offset % self.unit;
        let end = (offset + bytes).next_multiple_of(self.unit);
        let end = end.min(begin + AT_ONCE.max(self.unit)).min(self.length);
        Ok(Part::Differs(begin, end))
    }

    async fn compare(
        &self,
        sides: &Sides,
        begin: u64,
        end: u64,
        buffers: &mut [Buffer; 2],
    ) -> Result<(), Failed> {
        let bytes = (end - begin) as usize;
        for (side, (buffer, what)) in [&sides.old, &sides.new]
            .into_iter()
            .zip(buffers.iter_mut().zip(["old", "new"]))
        {
            if buffer.len() < bytes {
                *buffer = Buffer::with_alignment(bytes, 4096);
            }
            match side {
                Some(contents) => {
                    let read = contents.read(begin, buffer, bytes).await;
                    read.map_err(|_| {
                        fail(format!("error while reading from {what} backing file"))
                    })?;
                }
                None => buffer.as_mut_slice()[..bytes].fill(0),
            }
        }
        let old_end = sides.old.as_ref().map_or(0, Contents::length);
        let [old, new] = &*buffers;
        let unit = self.unit as usize;
        let mut at = 0;
        while at < bytes {
            let differs = |at: usize| {
                let part = at..(at + unit).min(bytes);
                old.as_slice()[part.clone()] != new.as_slice()[part]
            };
            if !differs(at) {
                at += unit;
                continue;
            }
            let from = at;
            // Behind the end of the old one it is known to be zeroes.
            let behind = begin + from as u64 >= old_end;
            while at < bytes && differs(at) && (begin + at as u64 >= old_end) == behind {
                at += unit;
            }
            let to = at.min(bytes);
            let offset = begin + from as u64;
            let written = match behind {
                true => {
                    let flags = WriteFlags::empty();
                    self.root
                        .write_zeroes(offset, (to - from) as u64, flags)
                        .await
                }
                false => {
                    let (_, rest) = old.source().split_at(from);
                    let (part, _) = rest.split_at(to - from);
                    self.root.write_with(offset, part, self.flags).await
                }
            };
            written.map_err(|error| {
                fail(format!(
                    "Error while writing to COW image: {}",
                    reason(&error)
                ))
            })?;
        }
        Ok(())
    }
}

/// A part of the image.
enum Part {
    /// Reads the same with the new backing image, up to here.
    Same(u64),
    /// May not.
    Differs(u64, u64),
}
