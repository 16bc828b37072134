//! What is wrong with the table of labels.

use std::collections::{BTreeMap, BTreeSet};

use ui_tests::suite::Kind as CaseKind;

use super::{FIRST, KINDS, Row, agrees, is_comparable, name};
use crate::table::Row as Function;
use crate::violations::grounds::Grounds;
use crate::violations::{Evidence, Row as Violation};

/// What the rows are compared with.
#[derive(Clone, Debug)]
pub struct Known {
    functions: BTreeMap<String, Function>,
    violations: BTreeSet<String>,
    grounds: Grounds,
}

impl Known {
    /// The functions of `design/api.csv`, the violations, the cases and tests.
    pub fn new(functions: Vec<Function>, violations: &[Violation], grounds: Grounds) -> Known {
        Known {
            functions: functions.into_iter().map(|f| (name(&f), f)).collect(),
            violations: violations.iter().map(|row| row.id.clone()).collect(),
            grounds,
        }
    }

    /// All functions, by name.
    pub fn functions(&self) -> impl Iterator<Item = &Function> {
        self.functions.values()
    }

    /// The label of a function in 10.0.2; `-` when it is gone, or unknown.
    pub fn label(&self, function: &str) -> &str {
        let found = self.functions.get(function);
        match found.map_or("", |function| &function.qemu) {
            "" => "-",
            label => label,
        }
    }

    /// The cases and tests.
    pub fn grounds(&self) -> &Grounds {
        &self.grounds
    }
}

/// Everything that is wrong with the rows.
pub fn complaints(rows: &[Row], known: &Known) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut places = BTreeMap::new();
    for (row, number) in rows.iter().zip(1..) {
        if row.id != format!("L{number:02}") {
            complaints.push(format!("{}: should be L{number:02}", row.id));
        }
        for function in row.functions() {
            if let Some(other) = places.insert(function, &row.id) {
                complaints.push(format!("{}: {function} is in {other} too", row.id));
            }
        }
        complaints.extend(of_row(row, known));
    }
    let order = |row: &Row| KINDS.iter().position(|kind| kind.name == row.kind);
    if !rows.is_sorted_by_key(order) {
        complaints.push("the kinds are not in order".to_owned());
    }
    for id in FIRST {
        if !rows.iter().any(|row| row.id == id) {
            complaints.push(format!("there is no {id} to begin with"));
        }
    }
    for (function, at) in &known.functions {
        if is_comparable(at) && !agrees(at) && !places.contains_key(function.as_str()) {
            complaints.push(format!(
                "{function}: `{}` there, `{}` here, and no case says why",
                at.qemu, at.layer
            ));
        }
    }
    complaints
}

/// What is wrong with one row.
pub fn of_row(row: &Row, known: &Known) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut complain = |what: String| complaints.push(format!("{}: {what}", row.id));
    match row.kind() {
        None => complain(format!("`{}` is no kind", row.kind)),
        Some(kind) if kind.is_harmless => {
            if !row.happens.is_empty() || !row.fix.is_empty() {
                complain("nothing can happen, so nothing is to be repaired".to_owned());
            }
        }
        Some(_) => {
            if row.happens.is_empty() || row.fix.is_empty() {
                complain("does not say what can happen, or how to repair it".to_owned());
            }
        }
    }
    let words = [&row.title, &row.code, &row.here, &row.source];
    if words.iter().any(|words| words.is_empty()) {
        complain("a title, the code, what is here or a source is missing".to_owned());
    }
    let mut functions = Vec::new();
    for function in row.functions() {
        match known.functions.get(function) {
            Some(found) => functions.push(found),
            None => complain(format!("there is no {function} in the table of functions")),
        }
    }
    let said = |column: fn(&Function) -> &String, between: &str| {
        let words = functions.iter().map(|function| match &**column(function) {
            "" => "-",
            word => word,
        });
        Vec::from_iter(BTreeSet::from_iter(words)).join(between)
    };
    for (column, expected, found) in [
        ("label", said(|f| &f.qemu, " "), &row.qemu),
        ("layer", said(|f| &f.layer, " "), &row.layer),
        ("proof", said(|f| &f.proof, "; "), &row.proof),
    ] {
        if expected != *found {
            complain(format!("the {column} is `{expected}`, not `{found}`"));
        }
    }
    let labels = ["-", "common", "gs", "io", "none"];
    let mut series = row.series.split(' ');
    if !series.clone().is_sorted() || !series.all(|label| labels.contains(&label)) {
        complain(format!("`{}` are no labels of the series", row.series));
    }
    for violation in row.violations() {
        if !known.violations.contains(violation) {
            complain(format!("there is no {violation}"));
        }
    }
    match row.shown() {
        Ok(shown) => complaints.extend(of_evidence(row, &shown, &known.grounds)),
        Err(error) => complaints.push(error),
    }
    complaints
}

/// Cases and tests that are not there; or there is nothing but limits, which
/// show that the types do *not* say something.
fn of_evidence(row: &Row, shown: &[Evidence<'_>], grounds: &Grounds) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut shows = false;
    for evidence in shown {
        match *evidence {
            Evidence::Case(id) => match grounds.case(id) {
                Some(case) => shows |= case.kind != CaseKind::Limit,
                None => complaints.push(format!("{}: there is no case {id}", row.id)),
            },
            Evidence::Test(test) if grounds.has_test(test) => shows = true,
            Evidence::Test(test) => {
                complaints.push(format!("{}: there is no test {test}", row.id));
            }
        }
    }
    if !shows && complaints.is_empty() {
        complaints.push(format!("{}: nothing shows what is here", row.id));
    }
    complaints
}
