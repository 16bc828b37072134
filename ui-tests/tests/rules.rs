//! The tables of `README.md` are those of the cases, and every rule has one.
//!
//! `UPDATE_TABLE=1 cargo test -p ui-tests --test rules` writes them.

use std::collections::BTreeSet;
use std::{env, fs};

use ui_tests::suite::Kind;
use ui_tests::{suite, table};

/// The rows of `design/contract.md` that this suite is evidence for: those
/// about what compiles. One about something that does not exist yet says so.
fn contract() -> BTreeSet<String> {
    let text = include_str!("../../design/contract.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = rows.filter(|row| row.starts_with(['R', 'A']) && !row.contains("do not exist yet"));
    let ids = rows.filter_map(|row| row.split(' ').next());
    ids.map(str::to_owned).collect()
}

#[test]
fn the_readme_has_a_row_for_every_case_and_no_other() {
    let cases = suite::all().expect("the cases");
    let path = suite::package().join("README.md");
    let readme = fs::read_to_string(&path).expect("README.md");
    let tables = table::render(&cases).expect("tables");
    let expected = table::replace(&readme, &tables).expect("a place for the tables");
    if env::var_os("UPDATE_TABLE").is_some() {
        fs::write(&path, &expected).expect("README.md is written");
    } else {
        assert!(
            readme == expected,
            "README.md is out of date: run UPDATE_TABLE=1 cargo test -p ui-tests --test rules"
        );
    }
    // Rows may have been written by hand outside the tables.
    let mut linked = table::linked(&expected);
    linked.sort_unstable();
    let ids: Vec<_> = cases.iter().map(|case| case.id.as_str()).collect();
    assert_eq!(linked, ids);
}

#[test]
fn every_row_of_the_contract_has_a_case() {
    let cases = suite::all().expect("the cases");
    let shown: BTreeSet<_> = cases
        .into_iter()
        .map(|case| case.header.rule)
        .filter(|rule| !rule.is_empty())
        .collect();
    assert!(shown.len() >= 26, "the contract has lost rows");
    assert_eq!(shown, contract());
}

/// A finding has a number or a version; a mere possibility says that it is one.
#[test]
fn what_is_said_of_qemu_is_a_finding_or_says_that_it_is_none() {
    let is_number = |word: &str| {
        let digits = word.strip_prefix('V').unwrap_or_default();
        digits.len() >= 3 && digits.bytes().take(3).all(|byte| byte.is_ascii_digit())
    };
    let cases = suite::all().expect("the cases");
    let rejected = cases.iter().filter(|case| case.kind == Kind::Rejected);
    for case in rejected {
        let qemu = &case.header.qemu;
        let is_finding = qemu.split(' ').any(is_number) || qemu.starts_with("10.0.2, ");
        assert!(
            is_finding != qemu.starts_with("None recorded. "),
            "{}: `{qemu}` is neither a finding nor marked as none",
            case.id
        );
    }
}

/// The findings that are chains of calls: those of the audit, and the crashes
/// found in review.
fn chains() -> impl Iterator<Item = String> {
    (1..=14)
        .chain(46..=65)
        .map(|number| format!("v{number:03}-"))
}

/// The functions that a header names: `bdrv_ref()`, `BdrvChildClass.attach()`.
fn functions(qemu: &str) -> Vec<&str> {
    let qemu = qemu.split(" Shape: ").next().unwrap_or_default();
    let before = qemu.split("()").map(|text| {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        text.rsplit(|c| !is_name(c)).next().unwrap_or_default()
    });
    // After the last call stands no function.
    let mut names: Vec<_> = before.collect();
    names.pop();
    names
}

/// The words of a program, without what it says in comments.
fn words(source: &str) -> BTreeSet<&str> {
    let code = source
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    code.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .collect()
}

#[test]
fn every_recorded_chain_has_a_case_of_its_own_with_all_its_functions() {
    let cases = suite::all().expect("the cases");
    for finding in chains() {
        let own: Vec<_> = cases
            .iter()
            .filter(|case| case.id.starts_with(&finding))
            .collect();
        let [case] = own[..] else {
            panic!("{finding} has {} cases", own.len());
        };
        let functions = functions(&case.header.qemu);
        assert!(!functions.is_empty(), "{}: no chain", case.id);
        for file in ["bad.rs", "good.rs"] {
            let source = case.read(file).expect("read before");
            let kept = words(&source);
            let lost: Vec<_> = functions
                .iter()
                .filter(|name| !kept.contains(*name))
                .collect();
            assert!(lost.is_empty(), "{}: {file} lacks {lost:?}", case.id);
        }
    }
}
