//! Giving nodes other options while they are in use.
//!
//! What is said is all there is: an option that is left out goes back to what
//! it is without being said, or the reopen is refused where it cannot. Nodes
//! that were described within the one in question are reopened with it,
//! because what they do not say themselves they have from there.
//!
//! First it is found out, in a drained section over all that was named, what
//! every node is to be ([`Queue`]); then one
//! [`Transaction`](block_gs::Transaction) makes it so. Nothing is changed
//! before everybody has agreed.

#[cfg(test)]
mod tests;

use block_common::Role;
use block_gs::{BqlGuard, GraphError, Node, NodeOptions, NodeView, ReopenOptions, drain_many};

use crate::described::Described;
use crate::drivers::{Driver, Key, Kind};
use crate::general::{self, General, inherit};
use crate::{OpenError, Options, Value, schema, values};

/// Reopens the nodes that `options` name, each with all its options
/// (`blockdev-reopen`). The options are checked as by a schema first, as
/// [`add`](crate::add) does.
///
/// Of `file` and `backing` a node may get others, and be left without a
/// `backing` by `null`; a `backing` that is there has to be said. Other
/// options of a driver change where the driver can do that, the general ones
/// always.
///
/// Runs in a drained section over all nodes that change, which is why it takes
/// the exclusive proof. Of a node that is named twice, what is said last
/// counts.
///
/// # Errors
/// [`OpenError`]: [`WhichNode`](OpenError::WhichNode),
/// [`NoSuchNode`](OpenError::NoSuchNode),
/// [`CannotChange`](OpenError::CannotChange),
/// [`CannotReset`](OpenError::CannotReset),
/// [`BackingMissing`](OpenError::BackingMissing), the refusals of drivers and
/// those of [`Transaction::commit`](block_gs::Transaction::commit). All nodes
/// are as they were then.
pub fn reopen(bql: &mut BqlGuard, options: Vec<Options>) -> Result<(), OpenError> {
    for (place, options) in options.iter().enumerate() {
        schema::check_listed(options, place)?;
    }
    let mut named = Vec::new();
    for options in options {
        let name = values::text(&mut options.clone(), general::NODE_NAME.name)?;
        let name = name.ok_or(OpenError::WhichNode)?;
        let node = Node::find(bql, &name).ok_or(OpenError::NoSuchNode(name))?;
        named.push((node, options));
    }
    reopen_all(bql, named, Keep::Nothing)
}

/// Reopens a node for reading only, or for writing too, and leaves everything
/// else as it is (`bdrv_reopen_set_read_only`).
///
/// # Errors
/// As [`reopen`].
pub fn set_read_only(bql: &mut BqlGuard, node: &Node, read_only: bool) -> Result<(), OpenError> {
    let mut options = Options::new();
    options.set(general::READ_ONLY.name, read_only);
    change_options(bql, node, options)
}

/// Gives a node these options, and leaves everything else as it is
/// (`bdrv_reopen` with `keep_old_opts`). Values may be strings or typed. Needs
/// the exclusive proof because it drains the node, and waits for its driver.
///
/// # Errors
/// As [`reopen`].
pub fn change_options(bql: &mut BqlGuard, node: &Node, options: Options) -> Result<(), OpenError> {
    reopen_all(bql, vec![(node.clone(), options)], Keep::Old)
}

/// What happens to options that are not given (`keep_old_opts`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Keep {
    /// They stay as they are.
    Old,
    /// They are as if they had never been given.
    Nothing,
}

fn reopen_all(
    bql: &mut BqlGuard,
    named: Vec<(Node, Options)>,
    keep: Keep,
) -> Result<(), OpenError> {
    let mut changed = Ok(());
    for _ in 0..TRIES {
        changed = try_reopen(bql, &named, keep);
        // What ran meanwhile has given one of them another child: what is to
        // be done has to be found out anew.
        if !matches!(
            changed,
            Err(OpenError::Graph(GraphError::ChildChanged { .. }))
        ) {
            break;
        }
    }
    changed
}

/// How often it is found out what is to be done, where others change the graph
/// at the same time.
const TRIES: u32 = 16;

fn try_reopen(bql: &mut BqlGuard, named: &[(Node, Options)], keep: Keep) -> Result<(), OpenError> {
    let Some((first, _)) = named.first() else {
        return Ok(());
    };
    let mut nodes = drain_many(bql, named.iter().map(|(node, _)| node.clone()));
    let mut queue = Queue::default();
    for (node, options) in named {
        queue.add(&nodes, node, options.clone(), None, keep)?;
    }
    let plans: Result<Vec<Plan>, OpenError> =
        queue.0.iter().map(|entry| entry.plan(&nodes)).collect();
    let plans = plans?;
    let mut section = nodes.also(first);
    let mut changes = section.transaction();
    let mut outcomes = Vec::new();
    for (entry, plan) in queue.0.into_iter().zip(plans) {
        let changes = changes.at(&entry.node);
        for (edge, child) in &entry.expected {
            changes.expect_child(edge, child.as_ref());
        }
        changes.reopen(plan.options);
        for (child, new) in &plan.children {
            match (child.how, new) {
                (How::Backing, new) => changes.set_backing(new.as_ref()),
                (How::Other, Some(new)) => changes.replace_child(child.name, new),
                (How::Other, None) => changes.detach_child(child.name),
            };
        }
        let replaced = plan.children.into_iter().map(|(child, _)| child.old);
        outcomes.push((
            entry.node,
            entry.described,
            replaced.flatten().collect::<Vec<_>>(),
        ));
    }
    changes.commit()?;
    section.end();
    nodes.end();
    for (node, described, replaced) in outcomes {
        for old in replaced {
            if old.view(bql).inherits_from(node.view(bql)) {
                old.set_heritage(bql, None);
            }
        }
        described.keep(bql, &node);
        if let Some(parent) = inherits_from(bql, &node) {
            Described::inherit(bql, &node, &parent);
        }
    }
    Ok(())
}

/// The parent within which the node was described.
fn inherits_from(bql: &BqlGuard, node: &Node) -> Option<Node> {
    let view = node.view(bql);
    let mut parents = view.parents().filter_map(|edge| edge.parent_node());
    let parent = parents.find(|parent| view.inherits_from(*parent));
    parent.map(|parent| parent.node(bql))
}

/// Children that can be others afterwards.
const REPLACEABLE: [&str; 2] = ["backing", "file"];

/// What is to be reopened, parents before children (`BlockReopenQueue`).
#[derive(Default)]
struct Queue(Vec<Entry>);

/// A node that is to be reopened, and everything that it is to be.
struct Entry {
    node: Node,
    before: Described,
    described: Described,
    /// What is said now.
    given: Options,
    keep: Keep,
    /// Neither is `backing` given nor described.
    backing_missing: bool,
    /// Children that decide what is to be done, as they are.
    expected: Vec<(String, Option<Node>)>,
}

/// What a child has from the parent that is reopened with it.
#[derive(Clone, Copy)]
struct Within<'p> {
    parent: &'p Options,
    role: Role,
}

impl Queue {
    /// Adds a node, and those below that were described within it
    /// (`bdrv_reopen_queue_child`). Of an option counts what is given now,
    /// then what somebody had said before, then what the parent says, then
    /// what was.
    fn add(
        &mut self,
        bql: &BqlGuard,
        node: &Node,
        given: Options,
        within: Option<Within<'_>>,
        keep: Keep,
    ) -> Result<(), OpenError> {
        let view = node.view(bql);
        let before = Described::of(view)?;
        let queued = self.0.iter().position(|entry| entry.node == *node);
        let queued = queued.map(|place| self.0.remove(place));
        let mut explicit = given.clone();
        let mut given = given;
        match (&queued, keep) {
            (Some(queued), _) => {
                let mut said = queued.described.explicit.clone();
                (before.driver.reopen.overrule)(&explicit, &mut said);
                explicit.add_missing(said);
                given.add_missing(queued.given.clone());
            }
            (None, Keep::Old) => {
                let mut said = before.explicit.clone();
                (before.driver.reopen.overrule)(&explicit, &mut said);
                explicit.add_missing(said);
            }
            (None, Keep::Nothing) => {}
        }
        let mut options = explicit.clone();
        if let Some(within) = within {
            inherit(within.parent, within.role, &mut options);
        }
        if keep == Keep::Old {
            let mut were = before.options.clone();
            (before.driver.reopen.overrule)(&options, &mut were);
            options.add_missing(were);
        }
        let backing_missing = keep == Keep::Nothing
            && options.get("backing").is_none()
            && options.get("backing.driver").is_none();
        let mut below = Vec::new();
        let mut expected = Vec::new();
        for name in REPLACEABLE {
            if options.get(name).is_some() {
                let child = view.child(name).map(|edge| edge.child().node(bql));
                expected.push((name.to_owned(), child));
            }
        }
        for edge in view.children() {
            let child = edge.child();
            if !child.inherits_from(view) {
                continue;
            }
            expected.push((edge.name().to_owned(), Some(child.node(bql))));
            let (given, keep) = match options.get(edge.name()) {
                Some(Value::Text(name)) if name == child.name() => (Options::new(), Keep::Old),
                Some(_) => continue,
                None => {
                    explicit.take_below(edge.name());
                    (options.take_below(edge.name()), keep)
                }
            };
            below.push((child.node(bql), edge.role(), given, keep));
        }
        let parent = options.clone();
        self.0.push(Entry {
            node: node.clone(),
            described: Described {
                driver: before.driver,
                explicit,
                options,
            },
            before,
            given,
            keep,
            backing_missing,
            expected,
        });
        for (child, role, given, keep) in below {
            let within = Within {
                parent: &parent,
                role,
            };
            self.add(bql, &child, given, Some(within), keep)?;
        }
        Ok(())
    }
}

/// What is to be done to one node.
struct Plan {
    options: ReopenOptions,
    /// Children that are replaced, and by what.
    children: Vec<(Replaced, Option<Node>)>,
}

/// A child that another takes the place of.
struct Replaced {
    name: &'static str,
    how: How,
    old: Option<Node>,
}

#[derive(Clone, Copy)]
enum How {
    /// It is a backing image, which may come and go.
    Backing,
    /// It is always there.
    Other,
}

impl Entry {
    /// Checks what can be checked before anything is prepared, in QEMU's order
    /// (`bdrv_reopen_prepare`).
    fn plan(&self, bql: &BqlGuard) -> Result<Plan, OpenError> {
        let view = self.node.view(bql);
        let driver = self.described.driver;
        let mut left = self.described.options.clone();
        let general = General::take(&mut left)?;
        for key in [&general::NODE_NAME, &general::FORCE_SHARE] {
            if let Some(value) = self.described.options.get(key.name) {
                left.set(key.name, value.clone());
            }
        }
        view.check_reopens()?;
        self.check_resets()?;
        let now = view.options();
        self.check_active(general.node.inactive, now.inactive)?;
        let mut options = ReopenOptions::new(self.node_options(general.node, now));
        if self.tells_driver() {
            let mut reopening = Reopening {
                bql,
                general: &general,
                options: &mut left,
            };
            options = (driver.reopen.take)(&mut reopening, options)?;
        }
        let has_backing = view.cow_child().is_some() || view.header_backing(bql).is_some();
        if self.backing_missing && view.driver().supports_backing() && has_backing {
            return Err(OpenError::BackingMissing(self.node.name().to_owned()));
        }
        let mut children = Vec::new();
        for name in REPLACEABLE {
            children.extend(self.child(bql, name, &mut left)?);
        }
        self.check_rest(bql, driver, &left)?;
        Ok(Plan { options, children })
    }

    /// What any node can be told, from what the options say and what it is
    /// `now`.
    fn node_options(&self, said: NodeOptions, now: NodeOptions) -> NodeOptions {
        let said = NodeOptions {
            // They stay, or the rest of the options is refused.
            force_share: now.force_share,
            inactive: now.inactive,
            ..said
        };
        if self.keep == Keep::Nothing {
            return said;
        }
        let mut options = NodeOptions {
            read_only: said.read_only,
            ..now
        };
        if self.changes(&general::DISCARD) {
            options.unmap = said.unmap;
        }
        if self.changes(&general::CACHE_NO_FLUSH) {
            options.no_flush = said.no_flush;
        }
        if self.changes(&general::DETECT_ZEROES) {
            options.detect_zeroes = said.detect_zeroes;
        }
        options
    }

    /// Whether there is anything that the driver has to hear of. What stays as
    /// it is does so whether or not it was ever described: the node may have
    /// been made, or reopened, without options.
    fn tells_driver(&self) -> bool {
        let of_driver = self.described.driver.options.iter();
        let mut keys = of_driver.chain([&general::CACHE_DIRECT, &general::AUTO_READ_ONLY]);
        self.keep == Keep::Nothing || keys.any(|key| self.changes(key))
    }

    /// Whether an option of a node that keeps its own is said now, or is
    /// another because that of the parent is.
    fn changes(&self, key: &Key) -> bool {
        let before = self.before.options.get(key.name);
        let after = self.described.options.get(key.name);
        let same = match (before, after) {
            (Some(before), Some(after)) => is_same(Some(key), before, after),
            (before, after) => before == after,
        };
        self.given.get(key.name).is_some() || !same
    }

    /// Other commands give an image to another process, and take it back. What
    /// was said when the node was made does not matter any more.
    fn check_active(&self, inactive: bool, is_inactive: bool) -> Result<(), OpenError> {
        let active = general::ACTIVE.name.to_owned();
        let is_said = self.described.options.get(&active).is_some();
        match (inactive == is_inactive, is_said, self.keep) {
            (true, _, _) | (false, false, Keep::Old) => Ok(()),
            (false, true, _) => Err(OpenError::CannotChange(active)),
            (false, false, Keep::Nothing) => Err(OpenError::CannotReset(active)),
        }
    }

    /// (`bdrv_reset_options_allowed`)
    fn check_resets(&self) -> Result<(), OpenError> {
        if self.keep == Keep::Old {
            return Ok(());
        }
        let may = |option: &str| {
            let mut general = general::REOPENED.iter();
            let always = [general::NODE_NAME.name, general::ACTIVE.name];
            always.contains(&option)
                || general.any(|key| key.name == option)
                || self.described.driver.reopen.resettable.contains(&option)
        };
        let mut gone = self.before.options.iter();
        let gone =
            gone.find(|(option, _)| self.described.options.get(option).is_none() && !may(option));
        match gone {
            None => Ok(()),
            Some((option, _)) => Err(OpenError::CannotReset(option.to_owned())),
        }
    }

    /// The child that is to take the place of the one called `name`, if one is
    /// (`bdrv_reopen_parse_file_or_backing`).
    fn child(
        &self,
        bql: &BqlGuard,
        name: &'static str,
        left: &mut Options,
    ) -> Result<Option<(Replaced, Option<Node>)>, OpenError> {
        let new = match left.get(name) {
            Some(Value::Text(new)) => Some(Node::lookup_by(bql, None, Some(new))?),
            Some(Value::Null) => None,
            _ => return Ok(None),
        };
        left.remove(name);
        let view = self.node.view(bql);
        let old = view.child(name).map(|edge| edge.child());
        let old_node = old.map(|old| old.node(bql));
        if old_node == new {
            return Ok(None);
        }
        if let Some(new) = &new
            && is_below(new.view(bql), view)
        {
            return Err(GraphError::Cycle {
                child: new.name().to_owned(),
                edge: name.to_owned(),
                parent: self.node.name().to_owned(),
            }
            .into());
        }
        if let Some(old) = old {
            if Some(old.skip_implicit_filters().node(bql)) == new {
                return Ok(None);
            }
            if old.is_implicit() {
                return Err(OpenError::ImplicitChild {
                    child: name,
                    node: self.node.name().to_owned(),
                });
            }
        } else if view.driver().is_filter() {
            return Err(OpenError::FilterChild {
                node: self.node.name().to_owned(),
                driver: view.driver().format_name(),
                child: name,
            });
        }
        let how = match name == "backing" && !view.driver().is_filter() {
            true => How::Backing,
            false => How::Other,
        };
        let replaced = Replaced {
            name,
            how,
            old: old_node,
        };
        Ok(Some((replaced, new)))
    }

    /// What nobody has taken has to be as it is.
    fn check_rest(&self, bql: &BqlGuard, driver: &Driver, left: &Options) -> Result<(), OpenError> {
        let view = self.node.view(bql);
        let keys = || general::KEYS.iter().chain(driver.options);
        for (option, new) in left.iter() {
            if let (Some(edge), Value::Text(name)) = (view.child(option), new)
                && edge.child().name() == name
            {
                continue;
            }
            let old = self.before.options.get(option);
            let key = keys().find(|key| key.name == option);
            if !old.is_some_and(|old| is_same(key, old, new)) {
                return Err(OpenError::CannotChange(option.to_owned()));
            }
        }
        Ok(())
    }
}

/// Whether `node` is `top` or somewhere below it.
fn is_below(top: NodeView<'_>, node: NodeView<'_>) -> bool {
    let mut seen = std::collections::HashSet::new();
    let mut work = vec![top];
    while let Some(next) = work.pop() {
        if next == node {
            return true;
        }
        if seen.insert(next.io().uid()) {
            work.extend(next.children().map(|edge| edge.child()));
        }
    }
    false
}

/// Whether two values of an option mean the same. One may come from a command
/// line, and be a string whatever it means.
fn is_same(key: Option<&Key>, old: &Value, new: &Value) -> bool {
    if old == new {
        return true;
    }
    let Some(key) = key else {
        return false;
    };
    let both = |value: &Value| {
        let mut options = Options::new();
        options.set(key.name, value.clone());
        options
    };
    let (mut old, mut new) = (both(old), both(new));
    match key.kind {
        Kind::Text | Kind::Word(_) | Kind::Words(_) | Kind::List(_) => false,
        Kind::Switch => matches!(
            (values::switch(&mut old, key.name), values::switch(&mut new, key.name)),
            (Ok(old), Ok(new)) if old == new
        ),
        Kind::Size => matches!(
            (values::size(&mut old, key.name), values::size(&mut new, key.name)),
            (Ok(old), Ok(new)) if old == new
        ),
        Kind::Number => matches!(
            (values::number(&mut old, key.name), values::number(&mut new, key.name)),
            (Ok(old), Ok(new)) if old == new
        ),
    }
}

/// What a driver takes from the options of a node that is reopened.
pub(crate) struct Reopening<'o> {
    bql: &'o BqlGuard,
    general: &'o General,
    options: &'o mut Options,
}

impl Reopening<'_> {
    pub fn general(&self) -> &General {
        self.general
    }

    pub fn bql(&self) -> &BqlGuard {
        self.bql
    }

    pub fn text(&mut self, key: &Key) -> Result<Option<String>, OpenError> {
        values::text(self.options, key.name)
    }

    pub fn switch(&mut self, key: &Key) -> Result<Option<bool>, OpenError> {
        values::switch(self.options, key.name)
    }

    pub fn size(&mut self, key: &Key) -> Result<Option<u64>, OpenError> {
        values::size(self.options, key.name)
    }

    pub fn number(&mut self, key: &Key) -> Result<Option<i64>, OpenError> {
        values::number(self.options, key.name)
    }
}
