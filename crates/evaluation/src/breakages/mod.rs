//! Rules broken on purpose, and what turns red.
//!
//! A suite that is green says little unless it can be red. Each breakage is a
//! small change of the shipped source that takes one rule away: a bound, a
//! lifetime, a second look, a count in time. It is made in a copy, the suite
//! that guards the rule is run there, and must fail with certain words. Tests
//! see to it that every change can still be made.

mod list;
mod run;

pub use list::BREAKAGES;
pub use run::run;

/// The name of the table on the page.
pub const TABLE: &str = "breakages";

/// A change that takes a rule away.
#[derive(Clone, Copy, Debug)]
pub struct Breakage {
    /// What it is called.
    pub name: &'static str,
    /// The rule or property.
    pub rule: &'static str,
    /// What is wrong afterwards.
    pub what: &'static str,
    /// The file that is changed.
    pub file: &'static str,
    /// What is there, exactly once.
    pub from: &'static str,
    /// What stands there afterwards.
    pub to: &'static str,
    /// Who must notice.
    pub suite: Suite,
    /// What is said then.
    pub says: &'static str,
}

/// A suite, or a part of one.
#[derive(Clone, Copy, Debug)]
pub enum Suite {
    /// The compile-fail cases whose name contains this.
    Cases(&'static str),
    /// The models whose name contains this.
    Models(&'static str),
    /// `cargo test` with these arguments.
    Tests(&'static [&'static str]),
}

impl Suite {
    /// How a reader would run it.
    pub fn command(self) -> String {
        match self {
            Suite::Cases(filter) => {
                format!("cargo test -p ui-tests --test ui -- cases trybuild={filter}")
            }
            Suite::Models(filter) => {
                format!("cargo test -p loom-tests (models with `{filter}` in their name)")
            }
            Suite::Tests(arguments) => format!("cargo test {}", arguments.join(" ")),
        }
    }
}

/// Its row of the table: everything about it but the name of the columns, so
/// that a breakage that was changed must be run again.
pub fn row(breakage: &Breakage) -> String {
    format!(
        "| `{}` | {} | {} | `{}` | {} | \"{}\" |\n",
        breakage.name,
        breakage.rule,
        breakage.what,
        breakage.file,
        breakage.suite.command().replace('|', "\\|"),
        breakage.says.replace('|', "\\|"),
    )
}
