//! The page: prose by hand, tables between marks.

use std::fs;

use crate::excerpts::{COMPILING, MACHINE_CODE, SCENARIOS, SIZES};
use crate::{Failure, census, diagnostics, findings, matrix, models, tree};

/// The page, from the root of the repository.
pub const PAGE: &str = "design/evaluation.md";

/// The tables that cost no time to make, by the name in their marks.
///
/// # Errors
/// What kept the first one from being made.
pub fn tables() -> Result<Vec<(&'static str, String)>, Failure> {
    Ok(vec![
        ("enforcement", matrix::table()?),
        ("findings", findings::table()?),
        ("diagnostics", diagnostics::table()?),
        ("models", models::table()?),
        ("scenarios", SCENARIOS.table()?),
        ("census", census::tables()?),
        ("sizes", SIZES.table()?),
        ("machine code", MACHINE_CODE.table()?),
        ("compiling", COMPILING.table()?),
    ])
}

/// The page with its tables made anew.
///
/// # Errors
/// [`Failure`], also when the page has no place for a table.
pub fn render() -> Result<String, Failure> {
    let mut page = tree::read(PAGE)?;
    for (name, table) in tables()? {
        page = replace(&page, name, &table)?;
    }
    Ok(page)
}

/// Writes a table of the page.
///
/// # Errors
/// As [`render`].
pub fn write(name: &str, table: &str) -> Result<(), Failure> {
    save(&replace(&tree::read(PAGE)?, name, table)?)
}

/// Writes the page.
///
/// # Errors
/// [`Failure::File`].
pub fn save(page: &str) -> Result<(), Failure> {
    let path = tree::root().join(PAGE);
    fs::write(&path, page).map_err(|error| Failure::File { path, error })
}

/// What stands between the marks of `name`.
///
/// # Errors
/// [`Failure::Content`] when they are missing.
pub fn between<'p>(page: &'p str, name: &str) -> Result<&'p str, Failure> {
    let (_, rest) = page.split_once(&begin(name)).ok_or_else(|| missing(name))?;
    let (table, _) = rest.split_once(END).ok_or_else(|| missing(name))?;
    Ok(table)
}

const END: &str = "<!-- end -->";

fn begin(name: &str) -> String {
    format!("<!-- generated: {name} -->")
}

fn missing(name: &str) -> Failure {
    Failure::Content {
        path: tree::root().join(PAGE),
        what: format!("has no place for `{name}`: `{}` and `{END}`", begin(name)),
    }
}

fn replace(page: &str, name: &str, table: &str) -> Result<String, Failure> {
    let begin = begin(name);
    let (before, rest) = page.split_once(&begin).ok_or_else(|| missing(name))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| missing(name))?;
    let table = table.trim_end();
    Ok(format!("{before}{begin}\n\n{table}\n\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_table_is_replaced() {
        let page = "a\n<!-- generated: x -->\nold\n<!-- end -->\nb\n<!-- generated: y -->\nstays\n<!-- end -->\n";
        let new = replace(page, "x", "new\n").expect("there is a place");
        assert!(new.contains("new") && !new.contains("old") && new.contains("stays"));
        assert!(new.starts_with("a\n") && new.ends_with("<!-- end -->\n"));
        assert!(replace(page, "z", "").is_err());
        assert_eq!(between(&new, "x").expect("a place").trim(), "new");
    }
}
