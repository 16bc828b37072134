//! From options to nodes.

use std::{fmt, mem};

use block_common::{Role, names, paths};
use block_gs::{Backend, BqlGuard, GraphError, IoError, Node};
use block_io::aio::Wait;
use block_io::{Activity, Buffer, Request};

use crate::described::Described;
use crate::drivers::{self, Child, Driver, Key};
use crate::general::{self, General, inherit};
use crate::{OpenError, Options, Value, for_filename, overlay, probe, schema, values};

/// Opens the node that `options` describe, and the children described in
/// them (`bdrv_open`), as [`Opener::open`] does that allows everything and
/// drops its warnings.
///
/// # Errors
/// [`OpenError`]; no node is left behind then.
pub fn open(bql: &mut BqlGuard, options: Options) -> Result<Node, OpenError> {
    Opener::new().open(bql, options)
}

/// Opens a node for the monitor, as [`Opener::add`] does that allows
/// everything and drops its warnings (`blockdev-add`).
///
/// # Errors
/// As [`Opener::add`].
pub fn add(bql: &mut BqlGuard, options: Options) -> Result<Node, OpenError> {
    Opener::new().add(bql, options)
}

/// Who opens nodes: with which drivers, and what is to be said about it.
#[derive(Debug, Default)]
pub struct Opener {
    /// `None` allows every driver.
    allowed: Option<Allowed>,
    warnings: Vec<Warning>,
    /// Images are opened without the backing images that they name.
    no_backing: bool,
    /// Images are opened that can only be checked.
    to_be_checked: bool,
    /// Images are opened whose data nobody reads or writes.
    without_io: bool,
    /// How many images are being opened whose headers name the next.
    depth: u32,
    /// How many nodes headers have named since nothing was being opened.
    named: u32,
}

/// Names of drivers that may be used.
#[derive(Debug)]
struct Allowed {
    read_write: Vec<String>,
    read_only: Vec<String>,
}

/// What opening a node did that the user may not have meant.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Warning {
    /// Nobody said what an image is that can be written, and it looks like
    /// none of the formats. The file.
    ProbedRaw(String),
    /// An empty name says that there is to be no backing image, as of old. The
    /// name of the option.
    EmptyName(&'static str),
}

impl Warning {
    /// What the tool called `tool` prints.
    pub fn told_by(&self, tool: &str) -> String {
        match self {
            Warning::ProbedRaw(_) => self.to_string(),
            Warning::EmptyName(_) => format!("{tool}: warning: {self}"),
        }
    }
}

/// In QEMU's words, in lines.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::ProbedRaw(name) => write!(
                f,
                "WARNING: Image format was not specified for '{name}' and probing guessed raw.\n\
                 \x20        Automatically detecting the format is dangerous for raw images, write \
                 operations on block 0 will be restricted.\n         Specify the 'raw' format \
                 explicitly to remove the restrictions."
            ),
            Warning::EmptyName(option) => write!(
                f,
                "Use of \"{option}\": \"\" is deprecated; use \"{option}\": null instead"
            ),
        }
    }
}

impl Opener {
    /// With every driver there is.
    pub fn new() -> Self {
        Opener::default()
    }

    /// With these drivers only, by name: some for any node, others for nodes
    /// that are read-only (`bdrv_init_with_whitelist`). For programs that
    /// open what others describe. If both lists are empty, every driver may be
    /// used. Nodes that exist are not looked at.
    pub fn allow_only(mut self, read_write: &[&str], read_only: &[&str]) -> Self {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let restricts = !read_write.is_empty() || !read_only.is_empty();
        self.allowed = restricts.then(|| Allowed {
            read_write: owned(read_write),
            read_only: owned(read_only),
        });
        self
    }

    /// Opens images without the backing images that they name
    /// (`BDRV_O_NO_BACKING`): for who asks an image about itself. Those
    /// further down, and those that options describe, are opened all the same.
    pub fn without_backing(mut self, without: bool) -> Self {
        self.no_backing = without;
        self
    }

    /// Opens images to be checked and repaired, and for nothing else
    /// (`BDRV_O_CHECK`): what is marked as corrupt can be written, what is
    /// marked as dirty is left so, and some tables need not be readable.
    /// Those that they stand on are opened so too.
    pub fn to_be_checked(mut self, checked: bool) -> Self {
        self.to_be_checked = checked;
        self
    }

    /// Opens images for what they say about themselves, and no requests
    /// (`BDRV_O_NO_IO`): a file that only has their data is not opened, and
    /// need not be there. Those below them are opened as ever. For who asks an
    /// image that nobody trusts which other files it means.
    pub fn without_io(mut self, without: bool) -> Self {
        self.without_io = without;
        self
    }

    pub(crate) fn set_without_io(&mut self, without: bool) {
        self.without_io = without;
    }

    /// Whether some drivers may not be used (`bdrv_uses_whitelist`).
    pub fn is_restricted(&self) -> bool {
        self.allowed.is_some()
    }

    /// Whether a node of `driver` may be opened, for reading only if it is to
    /// be so (`bdrv_is_whitelisted`).
    pub fn allows(&self, driver: &Driver, read_only: bool) -> bool {
        let Some(allowed) = &self.allowed else {
            return true;
        };
        let has = |names: &[String]| names.iter().any(|name| name == driver.name);
        has(&allowed.read_write) || read_only && has(&allowed.read_only)
    }

    /// What there is to say about what was opened since the last time.
    pub fn take_warnings(&mut self) -> Vec<Warning> {
        mem::take(&mut self.warnings)
    }

    /// Opens the node that `options` describe, and the children described in
    /// them (`bdrv_open`). Values may be strings or typed.
    ///
    /// Without a `driver` the child `file` is opened first and
    /// [looked at](crate::probe). What is no format's is `raw`, and
    /// [guarded](block_drivers::RawOptions::guarded): a guest cannot make it
    /// look like one later.
    ///
    /// Needs the exclusive proof because new nodes enter the graph. Children
    /// live as long as the node; the node as long as its handle or something
    /// above it.
    ///
    /// # Errors
    /// [`OpenError`]; no node is left behind then.
    pub fn open(&mut self, bql: &mut BqlGuard, options: Options) -> Result<Node, OpenError> {
        let opened = open_image(self, bql, options);
        if opened.is_err() {
            // Children that were opened already, and their names, go now.
            bql.poll(Wait::No);
        }
        opened
    }

    /// As [`open`](Opener::open), for reading only, with a `qcow2` overlay
    /// above it in a [temporary file](crate::TemporaryFile)
    /// (`BDRV_O_SNAPSHOT`): what is written goes with the node, which is the
    /// overlay. It is read-only only if the options say so.
    ///
    /// Needs the exclusive proof because new nodes enter the graph.
    ///
    /// # Errors
    /// Those of [`open`](Opener::open); when the overlay cannot be made.
    pub fn open_discarding(
        &mut self,
        bql: &mut BqlGuard,
        options: Options,
    ) -> Result<Node, OpenError> {
        let opened = overlay::open_below_overlay(self, bql, options);
        if opened.is_err() {
            bql.poll(Wait::No);
        }
        opened
    }

    /// Opens a node for the monitor, which owns it from then on
    /// (`blockdev-add`). It must have a name, and the options are checked
    /// first as by a schema: typed ones have to have the types that the
    /// options have, and each node has to have a `driver`.
    ///
    /// # Errors
    /// As [`open`](Opener::open); [`OpenError::Value`] in the words of a
    /// schema's reader.
    pub fn add(&mut self, bql: &mut BqlGuard, options: Options) -> Result<Node, OpenError> {
        schema::check(&options)?;
        if options.get(general::NODE_NAME.name).is_none() {
            return Err(OpenError::NoNodeName);
        }
        let node = self.open(bql, options)?;
        node.set_monitor_owned(bql);
        Ok(node)
    }

    /// Refuses a driver that may not be used. One that may be for reading
    /// makes a node read-only that is allowed to become so.
    fn check_allowed(&self, driver: &Driver, options: &mut Options) -> Result<(), OpenError> {
        let on = |key| values::switch(&mut options.clone(), key);
        let read_only = on(general::READ_ONLY.name)?.unwrap_or(false);
        if self.allows(driver, read_only) {
            return Ok(());
        }
        if !self.allows(driver, true) {
            return Err(OpenError::NotAllowed(driver.name));
        }
        if on(general::AUTO_READ_ONLY.name)?.unwrap_or(false) {
            options.set(general::READ_ONLY.name, true);
            return Ok(());
        }
        Err(OpenError::AllowedForReading(driver.name))
    }
}

/// What a child that is described within its parent is told about it.
#[derive(Clone, Copy)]
struct Within<'p> {
    parent: &'p Options,
    role: Role,
    /// Whether the child has to be a protocol, so that a file name without a
    /// driver is one's.
    protocol: bool,
}

/// Opens a node that is nobody's child.
pub(crate) fn open_image(
    opener: &mut Opener,
    bql: &mut BqlGuard,
    options: Options,
) -> Result<Node, OpenError> {
    open_level(opener, bql, options, None)
}

fn open_level(
    opener: &mut Opener,
    bql: &mut BqlGuard,
    mut options: Options,
    within: Option<Within<'_>>,
) -> Result<Node, OpenError> {
    let given = options.clone();
    if let Some(within) = within {
        inherit(within.parent, within.role, &mut options);
    }
    let mut children = Vec::new();
    let mut heirs = Vec::new();
    let mut looked_at = None;
    let (driver, probed) = match choose_driver(&mut options, within)? {
        Some(driver) => (driver, false),
        None => {
            let is_described = options.has_below(IMAGE_FILE.name);
            let file = open_child(opener, bql, &mut options, &IMAGE_FILE, true)?;
            let file = file.ok_or(OpenError::NoDriver)?;
            if is_described {
                heirs.push(file.clone());
            }
            let driver = probe_file(bql, &file)?;
            looked_at = Some(file.clone());
            children.push((IMAGE_FILE.name, file));
            (driver, true)
        }
    };
    opener.check_allowed(driver, &mut options)?;
    if opener.no_backing && within.is_none() {
        let backing = driver.children.iter();
        for child in backing.filter(|child| child.role.contains(Role::COW)) {
            if !options.has_below(child.name) {
                options.set_default(child.name, Value::Null);
            }
        }
    }
    let in_force = options.clone();
    let described = Described::new(driver, &given, options.clone());
    let mut without = Vec::new();
    for child in driver.children {
        if probed && child.name == IMAGE_FILE.name {
            continue;
        }
        let protocol = driver.is_format && !child.role.contains(Role::COW)
            || within.is_some_and(|within| within.protocol);
        let is_described = options.has_below(child.name);
        let is_backing = child.role.contains(Role::COW);
        if is_backing && options.get(child.name) == Some(&Value::Text(String::new())) {
            opener.warnings.push(Warning::EmptyName(child.name));
            options.set(child.name, Value::Null);
        }
        if !is_described && options.get(child.name) == Some(&Value::Null) {
            without.push(child.name);
        }
        if opener.without_io && child.role == Role::DATA && within.is_none() {
            options.remove(child.name);
            options.take_below(child.name);
            continue;
        }
        let opened = open_child(opener, bql, &mut options, child, protocol);
        let opened = opened.map_err(|error| match is_backing {
            true => OpenError::Below(Box::new(error)),
            false => error,
        })?;
        if let Some(node) = opened {
            if is_described {
                heirs.push(node.clone());
            }
            children.push((child.name, node));
        } else if child.required {
            return Err(OpenError::NoChild(child.name));
        }
    }
    let general = General::take(&mut options)?;
    check_name(bql, &general.node_name)?;
    let read_only = general.node.read_only;
    let mut opening = Opening {
        opener,
        bql,
        general,
        options,
        children,
        probed,
        without,
        given: &given,
        in_force: &in_force,
        heirs: &mut heirs,
    };
    let node = (driver.open)(&mut opening)?;
    described.keep(opening.bql, &node);
    for heir in mem::take(opening.heirs).iter() {
        Described::inherit(opening.bql, heir, &node);
    }
    match opening.options.iter().next() {
        None => {}
        Some((option, _)) if driver.protocol.is_some() => {
            return Err(OpenError::ProtocolOption {
                driver: driver.name,
                option: option.to_owned(),
            });
        }
        Some((option, _)) => {
            return Err(OpenError::FormatOption {
                driver: driver.name,
                option: option.to_owned(),
            });
        }
    }
    if let Some(file) = looked_at
        && driver.name == "raw"
        && !read_only
    {
        let name = file.view(bql).filename(bql);
        opener.warnings.push(Warning::ProbedRaw(name));
    }
    Ok(node)
}

/// What an image is in, whatever its format.
const IMAGE_FILE: Child = Child {
    name: "file",
    role: Role::IMAGE,
    required: true,
    about: "what the image is in",
};

/// The driver that the user says (`bdrv_fill_options`); `None` if the child
/// `file` has to tell.
fn choose_driver(
    options: &mut Options,
    within: Option<Within<'_>>,
) -> Result<Option<&'static Driver>, OpenError> {
    if let Some(name) = values::text(options, "driver")? {
        let driver = Driver::find(&name).ok_or(OpenError::UnknownDriver(name));
        return driver.map(Some);
    }
    let filename = match (options.get("filename"), within) {
        (Some(Value::Text(filename)), Some(_)) => Some(filename.clone()),
        _ => None,
    };
    let is_protocol = within.is_some_and(|within| within.protocol);
    match filename {
        Some(filename) if is_protocol => Ok(Some(drivers::driver_for_path(&filename))),
        Some(filename) => {
            options.remove("filename");
            options.set("file.filename", filename);
            Ok(None)
        }
        None if !is_protocol && (options.get("file").is_some() || options.has_below("file")) => {
            Ok(None)
        }
        None => Err(OpenError::NoDriver),
    }
}

/// The driver of the format of the image in `file` (`find_image_format`).
fn probe_file(bql: &mut BqlGuard, file: &Node) -> Result<&'static Driver, OpenError> {
    let beginning = match Activity::try_begin(file.io()) {
        Some(activity) => bql.block_on(async move { read_beginning(activity.request()).await }),
        // Quiesced by somebody who waits for us.
        None => file.drain(bql).io(read_beginning),
    };
    let beginning = beginning.map_err(OpenError::CouldNotProbe)?;
    let filename = file.view(bql).filename(bql);
    probe::driver(&beginning, &filename).map_err(|name| OpenError::UnknownDriver(name.to_owned()))
}

/// The beginning of what is in a node, as far as there is something.
async fn read_beginning(request: Request<'_>) -> Result<Vec<u8>, IoError> {
    if !request.is_inserted().await? {
        return Ok(Vec::new());
    }
    let length = usize::try_from(request.length().await?).unwrap_or(usize::MAX);
    let mut beginning = Buffer::zeroed(length.min(probe::PROBED));
    if !beginning.is_empty() {
        request.read(0, beginning.destination()).await?;
    }
    Ok(beginning.as_slice().to_vec())
}

/// The child that is referred to or described, if one is.
pub(crate) fn open_child(
    opener: &mut Opener,
    bql: &mut BqlGuard,
    options: &mut Options,
    child: &Child,
    protocol: bool,
) -> Result<Option<Node>, OpenError> {
    let described = options.take_below(child.name);
    match options.remove(child.name) {
        Some(Value::Text(_)) if !described.is_empty() => Err(OpenError::ReferenceWithOptions),
        Some(Value::Text(name)) => Ok(Some(Node::lookup(bql, &name)?)),
        None | Some(Value::Null) if described.is_empty() => Ok(None),
        None | Some(Value::Null) => {
            let within = Within {
                parent: options,
                role: child.role,
                protocol,
            };
            open_level(opener, bql, described, Some(within)).map(Some)
        }
        Some(_) => Err(OpenError::Value(format!(
            "Invalid parameter type for '{}', expected: BlockdevRef",
            child.name
        ))),
    }
}

/// What the graph would say too, but after the driver has opened its file.
fn check_name(bql: &BqlGuard, name: &str) -> Result<(), GraphError> {
    if name.is_empty() {
        return Ok(());
    }
    names::check_node_name(name)?;
    if Backend::find(bql, name).is_some() {
        return Err(GraphError::NameIsDevice(name.to_owned()));
    }
    if Node::find(bql, name).is_some() {
        return Err(GraphError::DuplicateNodeName(name.to_owned()));
    }
    Ok(())
}

/// What a driver makes a node from. What it does not take is refused
/// afterwards as an option that it does not know.
pub(crate) struct Opening<'o> {
    opener: &'o mut Opener,
    bql: &'o mut BqlGuard,
    general: General,
    options: Options,
    children: Vec<(&'static str, Node)>,
    probed: bool,
    /// Children that there are to be none of.
    without: Vec<&'static str>,
    /// What was said of the node itself.
    given: &'o Options,
    /// And what it has from its parent besides.
    in_force: &'o Options,
    /// Children that were described here, or by the image.
    heirs: &'o mut Vec<Node>,
}

/// How many images there may be below one, as their headers say.
const MAX_CHAIN: u32 = 200;

/// How many nodes headers may name for one that is opened. In a few images
/// each of which names the next one twice there is no end to them.
const MAX_NAMED: u32 = 500;

impl Opening<'_> {
    pub fn general(&self) -> &General {
        &self.general
    }

    pub fn bql(&self) -> &BqlGuard {
        self.bql
    }

    /// What was said for an option, as it was said.
    pub fn as_given(&self, key: &Key) -> Option<&Value> {
        self.given.get(key.name)
    }

    /// Whether nobody has said which driver it is.
    pub fn probed(&self) -> bool {
        self.probed
    }

    /// The child called `name`.
    pub fn child(&self, name: &'static str) -> Result<Node, OpenError> {
        let found = self.children.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, node)| node.clone())
            .ok_or(OpenError::NoChild(name))
    }

    /// Whether the user has said that there is to be no such child.
    pub fn goes_without(&self, name: &str) -> bool {
        self.without.contains(&name)
    }

    /// Whether it is opened to be checked.
    pub fn is_to_be_checked(&self) -> bool {
        self.opener.to_be_checked
    }

    /// Whether nobody reads or writes its data. So it is for the image that
    /// was asked for, not for those that its header names.
    pub fn is_without_io(&self) -> bool {
        self.opener.without_io && self.opener.depth == 0
    }

    /// Does what takes the exclusive proof.
    pub fn with_guard<R>(&mut self, f: impl FnOnce(&mut BqlGuard) -> R) -> R {
        f(self.bql)
    }

    /// What `name` means in the header of the image in `file`
    /// (`bdrv_get_full_backing_filename`).
    pub fn beside(&self, file: &Node, name: &str) -> Result<String, OpenError> {
        if name.starts_with("json:") || paths::has_protocol(name) || paths::is_absolute(name) {
            return Ok(name.to_owned());
        }
        let directory = file.view(self.bql).dirname(self.bql)?;
        Ok(directory + name)
    }

    /// Opens the backing image that the image names and nobody has described,
    /// of the format `format` if that is said.
    pub fn open_backing(
        &mut self,
        filename: &str,
        format: Option<&str>,
    ) -> Result<Node, OpenError> {
        let mut options = Options::new();
        if let Some(format) = format {
            options.set("driver", format);
        }
        let options = for_filename(filename, options)?;
        self.open_named(Role::COW, options)
    }

    /// Opens the file with the data that the image names and nobody has
    /// described. Its name is a path whatever it looks like: nobody looks for
    /// options there before he trusts an image.
    pub fn open_data(&mut self, path: &str) -> Result<Node, OpenError> {
        let mut options = Options::new();
        options.set("driver", "raw");
        options.set("file.driver", drivers::driver_for_path(path).name);
        let mut file = Options::new();
        drivers::set_path(path, &mut file);
        for (key, value) in file.iter() {
            options.set(&format!("file.{key}"), value.clone());
        }
        self.open_named(Role::DATA, options)
    }

    fn open_named(&mut self, role: Role, options: Options) -> Result<Node, OpenError> {
        let within = Within {
            parent: self.in_force,
            role,
            protocol: false,
        };
        if self.opener.depth == 0 {
            self.opener.named = 0;
        }
        if self.opener.depth >= MAX_CHAIN {
            return Err(OpenError::Value("Backing chain is too long".to_owned()));
        }
        if self.opener.named >= MAX_NAMED {
            let text = "Images name more images than can be opened";
            return Err(OpenError::Value(text.to_owned()));
        }
        self.opener.named += 1;
        self.opener.depth += 1;
        let opened = open_level(self.opener, self.bql, options, Some(within));
        self.opener.depth -= 1;
        let node = opened?;
        self.heirs.push(node.clone());
        Ok(node)
    }

    pub fn text(&mut self, key: &Key) -> Result<Option<String>, OpenError> {
        values::text(&mut self.options, key.name)
    }

    pub fn switch(&mut self, key: &Key) -> Result<Option<bool>, OpenError> {
        values::switch(&mut self.options, key.name)
    }

    pub fn size(&mut self, key: &Key) -> Result<Option<u64>, OpenError> {
        values::size(&mut self.options, key.name)
    }

    pub fn number(&mut self, key: &Key) -> Result<Option<i64>, OpenError> {
        values::number(&mut self.options, key.name)
    }

    pub fn word(&mut self, key: &Key) -> Result<Option<&'static str>, OpenError> {
        values::word(&mut self.options, key.name, key.words())
    }

    /// The members of a list of objects, in their order.
    pub fn list(&mut self, key: &Key) -> Result<Vec<Options>, OpenError> {
        let mut members = self.options.take_below(key.name);
        let mut list = Vec::new();
        while members.has_below(&list.len().to_string()) {
            list.push(members.take_below(&list.len().to_string()));
        }
        self.leave(key, members);
        Ok(list)
    }

    /// The members of a list of words, in their order.
    pub fn words(&mut self, key: &Key) -> Result<Vec<String>, OpenError> {
        let mut members = self.options.take_below(key.name);
        let mut words = Vec::new();
        while let Some(word) = values::text(&mut members, &words.len().to_string())? {
            words.push(word);
        }
        self.leave(key, members);
        Ok(words)
    }

    /// Puts back what is no member of a list, to be refused.
    fn leave(&mut self, key: &Key, rest: Options) {
        for (name, value) in rest.iter() {
            self.options
                .set(&format!("{}.{name}", key.name), value.clone());
        }
    }

    /// Makes the node, with the name that it is to have.
    pub fn make(
        &mut self,
        make: impl FnOnce(&mut BqlGuard, &str) -> Result<Node, GraphError>,
    ) -> Result<Node, OpenError> {
        Ok(make(self.bql, &self.general.node_name)?)
    }
}
