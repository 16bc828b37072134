//! File names of nodes, and how to open a node again.

use std::collections::HashMap;

use block_common::error::errno;
use block_common::{GraphError, Role, Value, paths};
use block_io::NodeUid;

use crate::{BqlGuard, Node, NodeView};

/// What the header of an image says about its backing image
/// (`bs->backing_file`, `bs->backing_format`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeaderBacking {
    /// The file name, perhaps relative to the image.
    pub file: String,
    /// The format, if the header says it.
    pub format: Option<String>,
}

/// File names that were found. What a node is called depends on what its
/// backing image is called, and so on: whoever asks for many names keeps them.
/// Good for as long as nothing changes, so as long as a guard is borrowed.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<NodeUid, Option<String>>);

/// Adds an option; the members of a list get keys of their own, as a command
/// line has them: `inject-error.0.event`.
fn flatten(key: String, value: Value, options: &mut Vec<(String, Value)>) {
    let Value::List(members) = value else {
        options.push((key, value));
        return;
    };
    for (place, member) in members.into_iter().enumerate() {
        let key = format!("{key}.{place}");
        match member {
            Value::Map(parts) => {
                for (part, value) in parts {
                    flatten(format!("{key}.{part}"), value, options);
                }
            }
            member => flatten(key, member, options),
        }
    }
}

impl<'g> NodeView<'g> {
    /// The options with which a node like this would be opened, children
    /// included (`full_open_options`): what decides what is read, and nothing
    /// else.
    pub fn open_options(self, bql: &BqlGuard) -> Value {
        if let Some(child) = self.shown_by_implicit() {
            return child.open_options(bql);
        }
        let driver = self.driver();
        let mut options = vec![("driver".to_owned(), driver.format_name().into())];
        for (key, value) in driver.strong_options(bql) {
            flatten(key.to_owned(), value, &mut options);
        }
        let overridden = self.backing_is_overridden(bql);
        for edge in self.children() {
            if edge.role() != Role::COW || overridden {
                options.push((edge.name().to_owned(), edge.child().open_options(bql)));
            }
        }
        if overridden && self.cow_child().is_none() {
            options.push(("backing".to_owned(), Value::Null));
        }
        Value::Map(options)
    }

    /// The file name that alone is enough to open a node like this, if there
    /// is one (`exact_filename`).
    pub fn exact_filename(self, bql: &BqlGuard) -> Option<String> {
        self.exact_filename_among(bql, &mut Names::default())
    }

    fn exact_filename_among(self, bql: &BqlGuard, names: &mut Names) -> Option<String> {
        let uid = self.io().uid();
        if let Some(name) = names.0.get(&uid) {
            return name.clone();
        }
        let name = self.find_exact_filename(bql, names);
        names.0.insert(uid, name.clone());
        name
    }

    fn find_exact_filename(self, bql: &BqlGuard, names: &mut Names) -> Option<String> {
        if let Some(child) = self.shown_by_implicit() {
            return child.exact_filename_among(bql, names);
        }
        let driver = self.driver();
        if let Some(name) = driver.filename(bql, self) {
            return Some(name);
        }
        // Images are recognised by looking at them, filters cannot be.
        let probed = !driver.is_filter()
            && driver.strong_options(bql).is_empty()
            && !self.backing_is_overridden_among(bql, names);
        let file = self.primary_node().filter(|_| probed)?;
        // Only what a protocol has is a file.
        file.driver().filename(bql, file)
    }

    /// What the node is called in messages about files
    /// (`bdrv_refresh_filename`, `bs->filename`): its
    /// [exact name](NodeView::exact_filename), or `json:` and its
    /// [options](NodeView::open_options).
    pub fn filename(self, bql: &BqlGuard) -> String {
        self.filename_among(bql, &mut Names::default())
    }

    /// As [`filename`](NodeView::filename), with what is known already.
    pub(crate) fn filename_among(self, bql: &BqlGuard, names: &mut Names) -> String {
        match self.exact_filename_among(bql, names) {
            Some(name) => name,
            None => format!("json:{}", self.open_options(bql)),
        }
    }

    /// What a job has put in is not to be seen in names.
    fn shown_by_implicit(self) -> Option<NodeView<'g>> {
        let child = self.is_implicit().then(|| self.children().next())?;
        child.map(|edge| edge.child())
    }

    /// What the header says about the backing image
    /// (`bdrv_get_backing_filename`).
    pub fn header_backing(self, bql: &BqlGuard) -> Option<HeaderBacking> {
        self.driver().header_backing(bql)
    }

    /// Whether the backing image is another one than the header says, or none
    /// although it says one (`bdrv_backing_overridden`).
    pub fn backing_is_overridden(self, bql: &BqlGuard) -> bool {
        self.backing_is_overridden_among(bql, &mut Names::default())
    }

    fn backing_is_overridden_among(self, bql: &BqlGuard, names: &mut Names) -> bool {
        let said = self.full_backing_filename(bql).ok().flatten();
        match self.cow_node() {
            Some(below) => said.as_deref() != Some(&*below.filename_among(bql, names)),
            None => self.header_backing(bql).is_some(),
        }
    }

    /// The backing image that the header says, as a name that does not depend
    /// on where the image is (`bdrv_get_full_backing_filename`).
    ///
    /// # Errors
    /// As [`dirname`](NodeView::dirname) for a relative name.
    pub fn full_backing_filename(self, bql: &BqlGuard) -> Result<Option<String>, GraphError> {
        match self.header_backing(bql) {
            Some(said) if !said.file.is_empty() => self.absolute(bql, &said.file).map(Some),
            _ => Ok(None),
        }
    }

    /// The directory of the image, with a slash at its end: what names in the
    /// header are relative to (`bdrv_dirname`).
    ///
    /// # Errors
    /// [`GraphError::Refused`] for a node that has none.
    pub fn dirname(self, bql: &BqlGuard) -> Result<String, GraphError> {
        let mut node = self;
        loop {
            if let Some(name) = node.driver().dirname(bql) {
                return Ok(name);
            }
            match node.primary_node() {
                Some(below) => node = below,
                None => break,
            }
        }
        if let Some(name) = node.exact_filename(bql) {
            return Ok(paths::combine(&name, ""));
        }
        Err(GraphError::Refused {
            message: format!(
                "Cannot generate a base directory for {} nodes",
                node.driver().format_name()
            ),
            errno: errno::ENOTSUP,
        })
    }

    /// `name`, relative to the image or not (`bdrv_make_absolute_filename`).
    fn absolute(self, bql: &BqlGuard, name: &str) -> Result<String, GraphError> {
        if paths::has_protocol(name) || paths::is_absolute(name) {
            return Ok(name.to_owned());
        }
        Ok(self.dirname(bql)? + name)
    }

    /// The image further down the chain that somebody calls `backing_file`
    /// (`bdrv_find_backing_image`): by the name in the header of the image
    /// above it, or where that is not the one that was opened, by its own. A
    /// name without a protocol is relative to the image above.
    pub fn find_backing_image(self, bql: &BqlGuard, backing_file: &str) -> Option<NodeView<'g>> {
        let mut image = self.skip_filters();
        while let Some(below) = image.backing_chain_next() {
            if image.has_backing_called(bql, below, backing_file) {
                return Some(below);
            }
            image = below;
        }
        None
    }

    fn has_backing_called(self, bql: &BqlGuard, below: NodeView<'_>, name: &str) -> bool {
        if self.backing_is_overridden(bql) {
            return below.filename(bql) == name;
        }
        let said = self
            .header_backing(bql)
            .map_or(String::new(), |said| said.file);
        let full = self.full_backing_filename(bql).ok().flatten();
        if paths::has_protocol(name) || paths::has_protocol(&said) {
            return said == name || full.as_deref() == Some(name);
        }
        let real = |name: Option<String>| std::fs::canonicalize(name?).ok();
        let wanted = real(self.absolute(bql, name).ok());
        wanted.is_some() && wanted == real(full)
    }
}

impl Node {
    /// As [`NodeView::filename`].
    pub fn filename(&self, bql: &BqlGuard) -> String {
        self.view(bql).filename(bql)
    }
}
