//! What the rows rest on: cases, tests and the contract.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use ui_tests::suite::{self, Case, Kind};

use super::{Evidence, Row};
use crate::ReadError;
use crate::exercise::Tests;

/// The contract, from the root of the workspace.
const CONTRACT: &str = "design/contract.md";

/// Everything that a row can rest on.
#[derive(Clone, Debug)]
pub struct Grounds {
    cases: BTreeMap<String, Case>,
    tests: Tests,
    rules: BTreeSet<String>,
}

/// By what a violation is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A case that has its shape does not compile.
    Rejected,
    /// What was forbidden there without need compiles here.
    Accepted,
    /// A test checks it.
    Test,
    /// Nothing shows it: there is only a reason.
    Reason,
}

impl Grounds {
    /// Of the repository.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read() -> Result<Grounds, ReadError> {
        let path = crate::workspace().join(CONTRACT);
        let contract = match fs::read_to_string(&path) {
            Ok(contract) => contract,
            Err(error) => return Err(ReadError::File { path, error }),
        };
        Ok(Grounds {
            cases: suite::all()
                .map_err(ReadError::Cases)?
                .into_iter()
                .map(|case| (case.id.clone(), case))
                .collect(),
            tests: Tests::read()?,
            rules: rules(&contract),
        })
    }

    /// A case, by its name.
    pub fn case(&self, id: &str) -> Option<&Case> {
        self.cases.get(id)
    }

    /// The cases whose header names this violation.
    pub fn naming(&self, number: u32) -> impl Iterator<Item = &Case> {
        let all = self.cases.values();
        all.filter(move |case| names(case, number))
    }

    /// Whether there is a test of this name.
    pub fn has_test(&self, test: &str) -> bool {
        self.tests.has(test)
    }

    /// Whether the contract has this row.
    pub fn has_rule(&self, rule: &str) -> bool {
        self.rules.contains(rule)
    }

    /// By what a row is answered: the compiler before tests, tests before
    /// reasons. A limit, which compiles and had better not, answers nothing.
    ///
    /// # Errors
    /// What is wrong with its evidence.
    pub fn answer(&self, row: &Row) -> Result<Answer, String> {
        let mut best = Answer::Reason;
        for evidence in row.evidence()? {
            let answer = match evidence {
                Evidence::Case(id) => match self.case(id).map(|case| case.kind) {
                    Some(Kind::Rejected) => Answer::Rejected,
                    Some(Kind::Accepted) => Answer::Accepted,
                    Some(Kind::Limit) => continue,
                    None => return Err(format!("{}: there is no case {id}", row.id)),
                },
                Evidence::Test(test) if self.has_test(test) => Answer::Test,
                Evidence::Test(test) => {
                    return Err(format!("{}: there is no test {test}", row.id));
                }
            };
            if (answer as u8) < (best as u8) {
                best = answer;
            }
        }
        Ok(best)
    }
}

/// Whether the header of a case names a violation.
pub fn names(case: &Case, number: u32) -> bool {
    evaluation::findings::numbers(&case.header.qemu).contains(&number)
}

/// The rows of the contract, by their names: `R5`, `H1`.
fn rules(contract: &str) -> BTreeSet<String> {
    let rows = contract.lines().filter_map(|line| line.strip_prefix("| "));
    let ids = rows.filter_map(|row| row.split(' ').next());
    let is_rule = |id: &&str| {
        let number = id.strip_prefix(['R', 'A', 'H', 'D']);
        number.is_some_and(|number| number.parse::<u8>().is_ok())
    };
    ids.filter(is_rule).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_the_first_cells() {
        let contract = "| id | what |\n|---|---|\n| R12 | as R3 |\n| Held | no |\ntext R4\n";
        assert_eq!(Vec::from_iter(rules(contract)), ["R12"]);
    }
}
