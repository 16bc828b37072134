//! What is open, and what is under way.

use std::sync::Arc;

use block_common::error::errno;
use block_drivers::CopyOnRead;
use block_drivers::blkdebug::{Blkdebug, Progress};
use block_gs::{Backend, BqlGuard, Node, Perm};
use block_io::Root;
use block_io::aio::JoinHandle;
use block_open::{CacheMode, OpenError, Opener, Options};

use super::command::Failed;
use crate::getopt::Parsed;
use crate::keyed;

/// How an image is to be opened.
#[derive(Clone, Debug)]
pub(super) struct OpenWith {
    options: Options,
    aio: Option<String>,
    writes_through: bool,
    copy_on_read: bool,
    snapshot: bool,
    /// Whether the image is to be written.
    writes: bool,
}

impl OpenWith {
    /// As the options of the tool, or of the command `open`, say.
    pub fn from_tool(line: &Parsed) -> Result<Self, String> {
        let mut with = OpenWith {
            options: Options::new(),
            aio: None,
            writes_through: true,
            copy_on_read: line.has("copy-on-read"),
            snapshot: line.has("snapshot"),
            writes: !line.has("read-only"),
        };
        if let Some(format) = line.value("format") {
            with.options.set("driver", format);
        }
        with.options.set("read-only", line.has("read-only"));
        if line.has("force-share") {
            with.options.set("force-share", true);
        }
        with.set_discard(line.value("discard").unwrap_or("unmap"))?;
        // They count in their order.
        for (name, value) in &line.options {
            match (&**name, value) {
                ("nocache", _) => with.set_cache("none")?,
                ("cache", Some(mode)) => with.set_cache(mode)?,
                ("native-aio", _) => with.aio = Some("native".to_owned()),
                ("aio", Some(mode)) => with.set_aio(mode)?,
                _ => {}
            }
        }
        Ok(with)
    }

    fn set_discard(&mut self, mode: &str) -> Result<(), String> {
        let unmap = block_open::parse_discard(mode);
        let unmap = unmap.ok_or_else(|| format!("Invalid discard option: {mode}"))?;
        self.options
            .set("discard", if unmap { "unmap" } else { "ignore" });
        Ok(())
    }

    fn set_aio(&mut self, mode: &str) -> Result<(), String> {
        if block_open::parse_aio(mode).is_none() {
            return Err(format!("Invalid aio option: {mode}"));
        }
        self.aio = Some(mode.to_owned());
        Ok(())
    }

    fn set_cache(&mut self, mode: &str) -> Result<(), String> {
        let cache = CacheMode::parse(mode);
        let cache = cache.ok_or_else(|| format!("Invalid cache option: {mode}"))?;
        self.writes_through = cache.writethrough;
        self.options.set("cache.direct", cache.direct);
        self.options.set("cache.no-flush", cache.no_flush);
        Ok(())
    }

    /// Adds `key=value,...`, which counts where both say something.
    pub fn add_options(&mut self, tool: &str, text: &str) -> Result<(), String> {
        let given = keyed::options(tool, text, None)?;
        for (key, value) in given.iter() {
            self.options.set(key, value.clone());
        }
        Ok(())
    }
}

/// An image that is open.
pub(super) struct Image {
    pub backend: Backend,
    pub node: Node,
    /// What the options describe: below the filter of copy-on-read, if there
    /// is one.
    described: Node,
    perm: Perm,
}

/// The state of the tool.
pub(super) struct Session {
    name: String,
    misalign: bool,
    image_opts: bool,
    image: Option<Image>,
    pending: Vec<JoinHandle<()>>,
}

impl Session {
    /// For a tool called `name`. With `image_opts`, what is opened is a string
    /// of options.
    pub fn new(name: &str, misalign: bool, image_opts: bool) -> Self {
        Session {
            name: name.to_owned(),
            misalign,
            image_opts,
            image: None,
            pending: Vec::new(),
        }
    }

    /// What the tool is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether memory must not be aligned.
    pub fn misaligns(&self) -> bool {
        self.misalign
    }

    /// Whether what is opened is a string of options.
    pub fn has_image_opts(&self) -> bool {
        self.image_opts
    }

    pub fn is_open(&self) -> bool {
        self.image.is_some()
    }

    pub fn image(&self) -> Result<&Image, Failed> {
        self.image.as_ref().ok_or(Failed::Said)
    }

    /// Where requests enter.
    pub fn root(&self) -> Result<Root, Failed> {
        Ok(self.image()?.backend.root().clone())
    }

    pub fn open(
        &mut self,
        bql: &mut BqlGuard,
        file: Option<&str>,
        with: OpenWith,
    ) -> Result<(), String> {
        if self.is_open() {
            return Err("file open already, try 'help close'".to_owned());
        }
        let opened = open_image(bql, file, with);
        self.image = Some(opened.map_err(|message| match file {
            Some(file) => format!("can't open device {file}: {message}"),
            None => format!("can't open: {message}"),
        })?);
        for node in block_gs::nodes(bql) {
            let node = node.node(bql);
            if let Some(driver) = node.driver::<Blkdebug>() {
                driver.observe(Some(Arc::new(say_progress)));
            }
        }
        Ok(())
    }

    /// Changes options of the image. One that `only_reads` is not written by
    /// us any more; an option alone does not take that back.
    pub fn reopen(
        &mut self,
        bql: &mut BqlGuard,
        options: Options,
        only_reads: bool,
        writes_through: Option<bool>,
    ) -> Result<(), Failed> {
        let report = |error: &dyn std::fmt::Display| Failed::Report(error.to_string());
        let Some(image) = &mut self.image else {
            return Err(Failed::Said);
        };
        let before = image.perm;
        if only_reads && image.described != image.node {
            let name = image.described.name();
            let text = format!("Can't set node '{name}' to r/o with copy-on-read enabled");
            return Err(Failed::Report(text));
        }
        if only_reads {
            image.perm -= Perm::WRITE | Perm::WRITE_UNCHANGED | Perm::RESIZE;
            let given_up = image.backend.set_perm(bql, image.perm, Perm::all());
            given_up.map_err(|error| report(&error))?;
        }
        if let Err(error) = block_open::change_options(bql, &image.described, options) {
            if image.backend.set_perm(bql, before, Perm::all()).is_ok() {
                image.perm = before;
            }
            return Err(Failed::Report(with_hint(&error)));
        }
        if let Some(writes_through) = writes_through {
            image.backend.set_write_cache(bql, !writes_through);
        }
        Ok(())
    }

    pub fn close(&mut self, bql: &mut BqlGuard) {
        self.wait_for_all(bql);
        self.image = None;
        bql.poll(block_io::aio::Wait::No);
    }

    /// The end: what was sent is waited for, and the image closed.
    pub fn finish(&mut self, bql: &mut BqlGuard) {
        self.close(bql);
    }

    /// Sends something without waiting for it.
    pub fn send(&mut self, bql: &BqlGuard, task: impl Future<Output = ()> + Send + 'static) {
        self.pending.retain(|task| !task.is_finished());
        self.pending.push(bql.context().spawn(task));
    }

    /// Waits for what was sent.
    pub fn wait_for_all(&mut self, bql: &mut BqlGuard) {
        for task in self.pending.drain(..) {
            bql.block_on(task);
        }
    }

    /// Sees to it that the backend may do what a command wants.
    pub fn allow(&mut self, bql: &mut BqlGuard, wanted: Perm) -> Result<(), Failed> {
        let Some(image) = &mut self.image else {
            return Ok(());
        };
        if image.perm.contains(wanted) {
            return Ok(());
        }
        let perm = image.perm | wanted;
        let allowed = image.backend.set_perm(bql, perm, Perm::all());
        allowed.map_err(|error| Failed::Report(error.to_string()))?;
        image.perm = perm;
        Ok(())
    }
}

fn say_progress(progress: &Progress<'_>) {
    match progress {
        Progress::Suspended(tag) => println!("blkdebug: Suspended request '{tag}'"),
        Progress::Resuming(tag) => println!("blkdebug: Resuming request '{tag}'"),
    }
}

fn open_image(bql: &mut BqlGuard, file: Option<&str>, with: OpenWith) -> Result<Image, String> {
    let mut options = with.options;
    if let Some(file) = file {
        options = block_open::for_filename(file, options).map_err(|error| with_hint(&error))?;
    }
    if let Some(aio) = with.aio {
        for (driver, key) in [("driver", "aio"), ("file.driver", "file.aio")] {
            if takes_aio(options.get(driver)) {
                options.set_default(key, aio.as_str());
            }
        }
    }
    let mut opener = Opener::new();
    let opened = match with.snapshot {
        true => opener.open_discarding(bql, options),
        false => opener.open(bql, options),
    };
    for warning in opener.take_warnings() {
        eprintln!("{}", warning.told_by("qemu-io"));
    }
    let described = opened.map_err(|error| with_hint(&error))?;
    let mut node = described.clone();
    if with.copy_on_read {
        if !with.writes {
            return Err("Can't use copy-on-read on read-only device".to_owned());
        }
        let filter = CopyOnRead::over(&node).open(bql, "");
        node = filter.map_err(|error| error.to_string())?;
    }
    let mut perm = Perm::CONSISTENT_READ;
    if with.writes {
        perm |= Perm::WRITE;
    }
    let backend = Backend::new(bql, "", perm, Perm::all());
    let backend = backend.map_err(|error| error.to_string())?;
    let inserted = backend.insert(bql, &node);
    inserted.map_err(|error| error.to_string())?;
    backend.set_write_cache(bql, !with.writes_through);
    Ok(Image {
        backend,
        node,
        described,
        perm,
    })
}

/// An error, and the lines of advice behind it.
fn with_hint(error: &OpenError) -> String {
    match error {
        // QEMU lets them be guessed.
        OpenError::UnknownDriver(_) => error.to_string(),
        error => match error.hint() {
            Some(hint) => format!("{error}\n{hint}"),
            None => error.to_string(),
        },
    }
}

/// Whether what the option `driver` says carries out transfers in some way.
fn takes_aio(driver: Option<&block_open::Value>) -> bool {
    let Some(block_open::Value::Text(name)) = driver else {
        return false;
    };
    let driver = block_open::Driver::find(name);
    driver.is_some_and(|driver| driver.options.iter().any(|key| key.name == "aio"))
}

/// The words for an errno, as `strerror` has them.
pub(super) fn words(number: i32) -> String {
    let text = std::io::Error::from_raw_os_error(number).to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_owned()
}

/// What a failed request says; a request beyond the end is an I/O error.
pub(super) fn reason(error: &block_io::IoError) -> String {
    match error.errno() {
        0 => words(errno::EIO),
        number => words(number),
    }
}
