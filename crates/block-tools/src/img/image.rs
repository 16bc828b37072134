//! Images that are open, and how they are opened.

use block_gs::{Backend, BqlGuard, GraphError, Node, Perm};
use block_io::{Buffer, IoError, IoNode, RangeStatus, Root, StatusFlags};
use block_open::{CacheMode, OpenError, Opener, Options, Value};

use super::call::{Failed, because, fail, whisper};
use super::source::source_options;

/// What everything is counted in.
pub(super) const SECTOR: u64 = 512;

/// How an image is to be opened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OpenAs<'a> {
    /// The name is a string of options (`--image-opts`).
    pub image_opts: bool,
    /// What the image is; looked into without.
    pub format: Option<&'a str>,
    /// It is going to be written.
    pub writable: bool,
    /// Its length is going to change.
    pub resizes: bool,
    /// Discards reach it.
    pub unmap: bool,
    /// How its writes go to the disk.
    pub cache: CacheMode,
    /// Others may do anything with it meanwhile (`-U`).
    pub force_share: bool,
    /// Nobody else may write it meanwhile.
    pub alone: bool,
    /// Without its backing image.
    pub no_backing: bool,
    /// Nothing is read or written.
    pub no_io: bool,
    /// It is only checked.
    pub to_be_checked: bool,
    /// Who carries transfers out.
    pub aio: Option<&'a str>,
}

impl OpenAs<'_> {
    fn perms(&self) -> (Perm, Perm) {
        let mut perm = Perm::empty();
        perm.set(Perm::CONSISTENT_READ, !self.no_io);
        perm.set(Perm::WRITE, self.writable);
        perm.set(Perm::RESIZE, self.resizes);
        let shared = match self.alone {
            true => Perm::CONSISTENT_READ | Perm::WRITE_UNCHANGED,
            false => Perm::all(),
        };
        (perm, shared)
    }

    /// Adds to `options` what they do not say themselves.
    fn complete(&self, options: &mut Options) {
        options.set_default("read-only", !self.writable);
        self.cache.apply(options);
        let discard = if self.unmap { "unmap" } else { "ignore" };
        options.set_default("discard", discard);
    }
}

/// The mode that a word stands for.
pub(super) fn cache(word: &str, complaint: &str) -> Result<CacheMode, Failed> {
    CacheMode::parse(word).ok_or_else(|| fail(format!("{complaint}: {word}")))
}

/// An image that is open.
pub(super) struct Image {
    /// What its requests go through.
    pub backend: Backend,
    /// Its node.
    pub node: Node,
}

impl Image {
    /// Opens the image that `name` says.
    ///
    /// # Errors
    /// In QEMU's words, with the name before them.
    pub fn open(bql: &mut BqlGuard, name: &str, with: &OpenAs<'_>) -> Result<Image, Failed> {
        let mut options = if with.image_opts {
            if with.format.is_some() {
                return Err(fail("--image-opts and --format are mutually exclusive"));
            }
            let options = source_options(name)?;
            let shares = options.get("force-share");
            if with.force_share && shares.is_some_and(|value| !is_on(value)) {
                return Err(fail("--force-share/-U conflicts with image options"));
            }
            Ok(options)
        } else {
            let mut options = Options::new();
            if let Some(format) = with.format {
                options.set("driver", format);
            }
            block_open::for_filename(name, options)
        };
        if let (Ok(options), true) = (&mut options, with.force_share) {
            options.set("force-share", true);
        }
        let opened = options.and_then(|options| Image::open_options(bql, options, with));
        opened.map_err(|error| because(format_args!("Could not open '{name}': "), &error))
    }

    /// Opens what `options` describe.
    ///
    /// # Errors
    /// Nothing is open then.
    pub fn open_options(
        bql: &mut BqlGuard,
        mut options: Options,
        with: &OpenAs<'_>,
    ) -> Result<Image, OpenError> {
        with.complete(&mut options);
        if let Some(aio) = with.aio {
            let key = match options.get("filename") {
                Some(_) => "aio",
                None => "file.aio",
            };
            options.set_default(key, aio);
        }
        let mut opener = Opener::new()
            .without_backing(with.no_backing)
            .without_contents(with.no_io)
            .to_be_checked(with.to_be_checked);
        let opened = opener.open(bql, options);
        for warning in opener.take_warnings() {
            whisper(&format!("{}\n", warning.told_by("qemu-img")));
        }
        let node = opened?;
        let (perm, shared) = with.perms();
        let backend = backend(bql, &node, perm, shared)?;
        backend.set_force_allow_inactivate(bql);
        backend.set_write_cache(bql, !with.cache.writethrough);
        Ok(Image { backend, node })
    }

    /// Where its requests enter.
    pub fn root(&self) -> &Root {
        self.backend.root()
    }

    /// Its contents, for requests.
    pub fn contents(&self, bql: &mut BqlGuard) -> Result<Contents, IoError> {
        let root = self.root().clone();
        let stored = bql.block_on(root.length())?;
        Ok(Contents::new(root, stored))
    }

    /// Its length in bytes, in whole sectors.
    pub fn length(&self, bql: &mut BqlGuard) -> Result<u64, IoError> {
        Ok(self.contents(bql)?.length())
    }

    /// Closes it, and everything below that nobody else has open.
    pub fn close(self, bql: &mut BqlGuard) {
        drop(self);
        bql.poll(block_io::aio::Wait::No);
    }
}

/// A backend for requests to `node`.
pub(super) fn backend(
    bql: &mut BqlGuard,
    node: &Node,
    perm: Perm,
    shared: Perm,
) -> Result<Backend, GraphError> {
    let backend = Backend::new(bql, "", perm, shared)?;
    backend.insert(bql, node)?;
    Ok(backend)
}

fn is_on(value: &Value) -> bool {
    match value {
        Value::Bool(on) => *on,
        Value::Text(text) => text == "on",
        _ => false,
    }
}

/// What is in an image, in whole sectors: behind the end of what is stored,
/// the rest of the last sector reads as zeroes.
#[derive(Clone)]
pub(super) struct Contents {
    root: Root,
    stored: u64,
}

impl Contents {
    /// What is behind `root`, which is `stored` bytes long.
    pub fn new(root: Root, stored: u64) -> Self {
        Contents { root, stored }
    }

    /// Where requests enter.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// How many bytes there are.
    pub fn length(&self) -> u64 {
        self.stored.next_multiple_of(SECTOR)
    }

    /// How many of `bytes` bytes from `offset` on are stored.
    pub fn stored(&self, offset: u64, bytes: u64) -> u64 {
        self.stored.saturating_sub(offset).min(bytes)
    }

    /// Reads into the beginning of `buffer`.
    ///
    /// # Errors
    /// Those of a read.
    pub async fn read(
        &self,
        offset: u64,
        buffer: &mut Buffer,
        bytes: usize,
    ) -> Result<(), IoError> {
        self.read_at(offset, buffer, 0, bytes).await
    }

    /// Reads into `buffer` from `at` on.
    ///
    /// # Errors
    /// Those of a read.
    pub async fn read_at(
        &self,
        offset: u64,
        buffer: &mut Buffer,
        at: usize,
        bytes: usize,
    ) -> Result<(), IoError> {
        let stored = self.stored(offset, bytes as u64) as usize;
        if stored > 0 {
            let (_, rest) = buffer.destination().split_at(at);
            self.root.read(offset, rest.split_at(stored).0).await?;
        }
        if stored < bytes {
            buffer.as_mut_slice()[at + stored..at + bytes].fill(0);
        }
        Ok(())
    }

    /// What is known about the beginning of a range, of the chain down to but
    /// without `base`. It is at least one byte unless `bytes` is 0.
    ///
    /// # Errors
    /// Those of the drivers.
    pub async fn status(
        &self,
        base: Option<&IoNode>,
        offset: u64,
        bytes: u64,
    ) -> Result<RangeStatus, IoError> {
        let stored = self.stored(offset, bytes);
        let known = match stored {
            0 => None,
            stored => Some(self.root.block_status_above(base, offset, stored).await?),
        };
        match known {
            Some(status) if status.bytes > 0 => Ok(status),
            // What is not stored, or has gone meanwhile.
            _ => Ok(RangeStatus {
                flags: StatusFlags::ZERO | StatusFlags::ALLOCATED,
                bytes,
                depth: 1,
            }),
        }
    }
}
