//! `design/labels.csv`: where QEMU's label of a function and its layer here
//! differ, or agree for the wrong reason, and what can happen.

pub mod check;
pub mod render;

use serde::Deserialize;

use crate::ReadError;
use crate::table::Row as Function;
use crate::violations::Evidence;

/// Where the table is, from the root of the workspace.
pub const TABLE: &str = "design/labels.csv";

/// The page that is made of it.
pub const PAGE: &str = "design/labels.md";

/// The cases that the page begins with.
pub const FIRST: [&str; 5] = ["L09", "L10", "L19", "L20", "L04"];

/// What is wrong with a label, or what is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// Its name in the table.
    pub name: &'static str,
    /// The heading of its section.
    pub heading: &'static str,
    /// What its cases have in common.
    pub about: &'static str,
    /// Nothing is wrong with the label.
    pub is_harmless: bool,
}

const fn kind(name: &'static str, heading: &'static str, about: &'static str) -> Kind {
    Kind {
        name,
        heading,
        about,
        is_harmless: false,
    }
}

const fn harmless(name: &'static str, heading: &'static str, about: &'static str) -> Kind {
    Kind {
        is_harmless: true,
        ..kind(name, heading, about)
    }
}

/// The kinds, as the page has them.
pub const KINDS: [Kind; 12] = [
    kind(
        "state",
        "Relabelled, and the state stayed as it was",
        "The label went from global state to I/O between the series and 10.0.2. The fields \
         behind it did not become safe by that.",
    ),
    kind(
        "caller",
        "Weakened for a caller that could not be changed",
        "An assertion fired or would have, and the label gave way.",
    ),
    kind(
        "reach",
        "In the wrong half",
        "I/O functions that touch what only the main thread may, and functions among global \
         state that I/O code is meant to call.",
    ),
    kind(
        "plain",
        "Plain fields, several threads",
        "The labels are right: any thread may call these. What they read and write was made for \
         one.",
    ),
    kind(
        "either",
        "\"I/O or GS\", or one label for two rules",
        "Who may call depends on something that the label does not say, most often on whether \
         the caller is a coroutine.",
    ),
    kind(
        "place",
        "Header, section and body disagree",
        "Each is a line to move or to delete.",
    ),
    kind(
        "table",
        "Callbacks in no layer, or in the wrong one",
        "What is called through a pointer, no analysis follows; the label is all there is.",
    ),
    kind(
        "thin",
        "Global state, which is not enough",
        "The label says who calls. What has to stand still meanwhile, or must not be borrowed, \
         it does not say.",
    ),
    kind(
        "more",
        "More than is needed",
        "Global state by label, although what it does would be safe elsewhere.",
    ),
    kind(
        "none",
        "No label at all",
        "Functions in headers without sections which are for one kind of caller all the same.",
    ),
    harmless(
        "stricter",
        "The label is right, and the types are stricter",
        "By design. Nothing to repair there.",
    ),
    harmless(
        "same",
        "Nothing in it",
        "Different words for what is the same.",
    ),
];

/// A case: functions with one story.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Row {
    /// `L07`.
    pub id: String,
    /// One of [`KINDS`].
    pub kind: String,
    /// What it is about.
    pub title: String,
    /// The functions, `bdrv_x` or `BlockDriver.bdrv_x`, separated by spaces.
    pub functions: String,
    /// Their labels in the series of 2021/22, each once, in alphabetical order;
    /// `-` for what was not there.
    pub series: String,
    /// Their labels in 10.0.2, likewise; `-` for what is gone.
    pub qemu: String,
    /// Their layers here, likewise; `-` for what is not there.
    pub layer: String,
    /// The proofs that they take here, likewise, separated by `; `.
    pub proof: String,
    /// What the label says and the code does.
    pub code: String,
    /// What can happen; nothing where the label is right.
    pub happens: String,
    /// How it could be repaired in C; likewise.
    pub fix: String,
    /// What the types force here.
    pub here: String,
    /// What it rests on.
    pub source: String,
    /// Cases and tests that show it, there or here: `case:…` and `test:…`.
    pub shown: String,
    /// Recorded violations that are about it, separated by spaces.
    pub violations: String,
}

impl Row {
    /// The names of its functions.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.functions.split(' ')
    }

    /// What is wrong with the label.
    pub fn kind(&self) -> Option<Kind> {
        KINDS.into_iter().find(|kind| kind.name == self.kind)
    }

    /// What shows it.
    ///
    /// # Errors
    /// The word that is neither a case nor a test.
    pub fn shown(&self) -> Result<Vec<Evidence<'_>>, String> {
        Evidence::parse_all(&self.shown, &self.id)
    }

    /// The recorded violations.
    pub fn violations(&self) -> impl Iterator<Item = &str> {
        self.violations.split(' ').filter(|id| !id.is_empty())
    }
}

/// All rows.
///
/// # Errors
/// [`ReadError::Table`].
pub fn read() -> Result<Vec<Row>, ReadError> {
    crate::table::rows(TABLE)
}

/// How a function is called in the table: with its table of callbacks, if it is
/// in one.
pub fn name(function: &Function) -> String {
    match &*function.owner {
        "" => function.name.clone(),
        owner => format!("{owner}.{}", function.name),
    }
}

/// Whether a function has both a label in 10.0.2 and a layer here, so that they
/// can be compared.
pub fn is_comparable(function: &Function) -> bool {
    function.exists_in_qemu() && !function.layer.is_empty()
}

/// Whether the label in 10.0.2 and the layer here let the same callers in. What
/// has no label must need no proof, and no callback is without a label.
pub fn agrees(function: &Function) -> bool {
    let layer = function.layer.as_str();
    match &*function.qemu {
        "gs" => layer == "gs",
        "io" => matches!(layer, "io" | "any"),
        "io_or_gs" => layer == "home",
        "common" => matches!(layer, "common" | "any"),
        _ => layer == "any" && function.owner.is_empty(),
    }
}
