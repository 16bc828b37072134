//! `design/api.csv`.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::ReadError;

/// Where the table is, from the root of the workspace.
pub const TABLE: &str = "design/api.csv";

/// A function or callback of QEMU's block layer.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// The table of callbacks that it is in, if it is one.
    pub owner: String,
    /// What it is about: `graph`, `drain`, `io` and so on.
    pub area: String,
    /// Its layer in QEMU 10.0.2: `gs`, `io`, `io_or_gs`, `common`, `none`
    /// (in no header that says so), or nothing when it is gone.
    pub qemu: String,
    /// The path of what it is here; nothing when it is not there. More than
    /// one are separated by a space.
    pub place: String,
    /// Its layer here: `gs`, `io`, `home`, `common`.
    pub layer: String,
    /// The proof that it takes.
    pub proof: String,
    /// Tests that exercise it, `crate/file.rs::function`, separated by spaces.
    pub tests: String,
    /// Why it is not there.
    pub why: String,
}

impl Row {
    /// How complaints name it.
    pub fn title(&self) -> String {
        match self.owner.as_str() {
            "" => format!("{}()", self.name),
            owner => format!("{owner}.{}", self.name),
        }
    }

    /// Whether it still exists in QEMU 10.0.2.
    pub fn exists_in_qemu(&self) -> bool {
        !self.qemu.is_empty()
    }
}

/// All rows.
///
/// # Errors
/// [`ReadError::Table`].
pub fn read() -> Result<Vec<Row>, ReadError> {
    rows(TABLE)
}

/// The rows of a table, by its path from the root of the workspace.
pub(crate) fn rows<R: DeserializeOwned>(table: &str) -> Result<Vec<R>, ReadError> {
    let path = crate::workspace().join(table);
    let failed = |error| ReadError::Table {
        path: path.clone(),
        error,
    };
    let mut reader = csv::Reader::from_path(&path).map_err(failed)?;
    reader
        .deserialize()
        .map(|row| row.map_err(failed))
        .collect()
}
