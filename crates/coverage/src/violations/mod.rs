//! `design/violations.csv`: what was found in QEMU's layering, and what
//! answers here.

pub mod check;
pub mod grounds;
pub mod render;

use serde::Deserialize;

use crate::ReadError;

/// Where the table is, from the root of the workspace.
pub const TABLE: &str = "design/violations.csv";

/// The page that is made of it.
pub const PAGE: &str = "design/violations.md";

/// How many violations were recorded: V001 to V163.
pub const RECORDED: usize = 163;

/// The groups of violations that cannot arise, with which the answer of such a
/// row begins, and what those of each are about.
pub const GROUPS: [(&str, &str); 3] = [
    ("no such code", "code that does not exist here"),
    ("no such lock", "a lock that does not exist here"),
    ("only words", "the order of a header"),
];

/// A violation.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Row {
    /// `V048`.
    pub id: String,
    /// The row of `design/contract.md` that it falls under, or `none`.
    pub rule: String,
    /// Who called whom in QEMU.
    pub chain: String,
    /// What went wrong there.
    pub happened: String,
    /// `case:…` and `test:…`, separated by spaces, or `none`.
    pub evidence: String,
    /// What the tests check, or why it cannot arise. Empty where a case
    /// answers: the compiler's words stand there then.
    pub answer: String,
}

/// What shows that a violation is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence<'r> {
    /// A case of `ui-tests`, by its name.
    Case(&'r str),
    /// A test, as `crates/coverage/tests/violations.rs::name`.
    Test(&'r str),
}

impl Evidence<'_> {
    /// Reads a cell of the row `id`.
    ///
    /// # Errors
    /// The word that is neither a case nor a test.
    pub fn parse_all<'r>(cell: &'r str, id: &str) -> Result<Vec<Evidence<'r>>, String> {
        if cell == "none" {
            return Ok(Vec::new());
        }
        let words = cell.split(' ');
        let parsed = words.map(|word| match word.split_once(':') {
            Some(("case", name)) => Ok(Evidence::Case(name)),
            Some(("test", name)) => Ok(Evidence::Test(name)),
            _ => Err(format!("{id}: `{word}` is no evidence")),
        });
        parsed.collect()
    }
}

impl Row {
    /// What shows that it is answered; the first is the best.
    ///
    /// # Errors
    /// The word that is neither a case nor a test.
    pub fn evidence(&self) -> Result<Vec<Evidence<'_>>, String> {
        Evidence::parse_all(&self.evidence, &self.id)
    }

    /// The number in its name.
    pub fn number(&self) -> Option<u32> {
        self.id.strip_prefix('V')?.parse().ok()
    }

    /// The group that a row without evidence is in, and the rest of its
    /// answer.
    pub fn group(&self) -> Option<(&'static str, &str)> {
        let (group, why) = self.answer.split_once(": ")?;
        let mut known = GROUPS.into_iter().map(|(name, _)| name);
        Some((known.find(|name| *name == group)?, why))
    }
}

/// All rows.
///
/// # Errors
/// [`ReadError::Table`].
pub fn read() -> Result<Vec<Row>, ReadError> {
    crate::table::rows(TABLE)
}
