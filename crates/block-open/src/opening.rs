//! From options to nodes.

use block_common::{Role, names};
use block_gs::{Backend, BqlGuard, GraphError, Node};
use block_io::aio::Wait;

use crate::described::Described;
use crate::drivers::{self, Child, Driver, Key};
use crate::general::{self, General, inherit};
use crate::{OpenError, Options, Value, schema, values};

/// Opens the node that `options` describe, and the children described in
/// them (`bdrv_open`). Values may be strings or typed. Without a `driver` the
/// node is `raw` if it has a child `file`.
///
/// Needs the exclusive proof because new nodes enter the graph. Children live
/// as long as the node; the node as long as its handle or something above it.
///
/// # Errors
/// [`OpenError`]; no node is left behind then.
pub fn open(bql: &mut BqlGuard, options: Options) -> Result<Node, OpenError> {
    let opened = open_level(bql, options, None);
    if opened.is_err() {
        // Children that were opened already, and their names, go now.
        bql.poll(Wait::No);
    }
    opened
}

/// Opens a node for the monitor, which owns it from then on
/// (`blockdev-add`). It must have a name, and the options are checked first
/// as by a schema: typed ones have to have the types that the options have.
///
/// # Errors
/// As [`open`]; [`OpenError::Value`] in the words of a schema's reader.
pub fn add(bql: &mut BqlGuard, options: Options) -> Result<Node, OpenError> {
    schema::check(&options)?;
    if options.get(general::NODE_NAME.name).is_none() {
        return Err(OpenError::NoNodeName);
    }
    let node = open(bql, options)?;
    node.set_monitor_owned(bql);
    Ok(node)
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

fn open_level(
    bql: &mut BqlGuard,
    mut options: Options,
    within: Option<Within<'_>>,
) -> Result<Node, OpenError> {
    let given = options.clone();
    if let Some(within) = within {
        inherit(within.parent, within.role, &mut options);
    }
    let driver = choose_driver(&mut options, within)?;
    let described = Described::new(driver, &given, options.clone());
    let mut children = Vec::new();
    let mut heirs = Vec::new();
    for child in driver.children {
        let protocol = driver.is_format && !child.role.contains(Role::COW)
            || within.is_some_and(|within| within.protocol);
        let is_described = options.has_below(child.name);
        if let Some(node) = open_child(bql, &mut options, child, protocol)? {
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
    let mut opening = Opening {
        bql,
        general,
        options,
        children,
    };
    let node = (driver.open)(&mut opening)?;
    described.keep(opening.bql, &node);
    for heir in &heirs {
        Described::inherit(opening.bql, heir, &node);
    }
    match opening.options.iter().next() {
        None => Ok(node),
        Some((option, _)) if driver.protocol.is_some() => Err(OpenError::ProtocolOption {
            driver: driver.name,
            option: option.to_owned(),
        }),
        Some((option, _)) => Err(OpenError::FormatOption {
            driver: driver.name,
            option: option.to_owned(),
        }),
    }
}

/// The driver that the user says, or that follows from the rest
/// (`bdrv_fill_options`).
fn choose_driver(
    options: &mut Options,
    within: Option<Within<'_>>,
) -> Result<&'static Driver, OpenError> {
    if let Some(name) = values::text(options, "driver")? {
        return Driver::find(&name).ok_or(OpenError::UnknownDriver(name));
    }
    let filename = match (options.get("filename"), within) {
        (Some(Value::Text(filename)), Some(_)) => Some(filename.clone()),
        _ => None,
    };
    let is_protocol = within.is_some_and(|within| within.protocol);
    match filename {
        Some(filename) if is_protocol => Ok(drivers::driver_for_path(&filename)),
        Some(filename) => {
            options.remove("filename");
            options.set("file.filename", filename);
            raw()
        }
        None if !is_protocol && (options.get("file").is_some() || options.has_below("file")) => {
            raw()
        }
        None => Err(OpenError::NoDriver),
    }
}

/// What an image is whose format nobody has said.
fn raw() -> Result<&'static Driver, OpenError> {
    Driver::find("raw").ok_or(OpenError::NoDriver)
}

/// The child that is referred to or described, if one is.
fn open_child(
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
            open_level(bql, described, Some(within)).map(Some)
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
    bql: &'o mut BqlGuard,
    general: General,
    options: Options,
    children: Vec<(&'static str, Node)>,
}

impl Opening<'_> {
    pub fn general(&self) -> &General {
        &self.general
    }

    pub fn bql(&self) -> &BqlGuard {
        self.bql
    }

    /// The child called `name`.
    pub fn child(&self, name: &'static str) -> Result<Node, OpenError> {
        let found = self.children.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, node)| node.clone())
            .ok_or(OpenError::NoChild(name))
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

    /// Makes the node, with the name that it is to have.
    pub fn make(
        &mut self,
        make: impl FnOnce(&mut BqlGuard, &str) -> Result<Node, GraphError>,
    ) -> Result<Node, OpenError> {
        Ok(make(self.bql, &self.general.node_name)?)
    }
}
