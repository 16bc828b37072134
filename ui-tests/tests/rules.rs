//! The tables of `README.md` are those of the cases, and every rule has one.
//!
//! `UPDATE_TABLE=1 cargo test -p ui-tests --test rules` writes them.

use std::collections::BTreeSet;
use std::{env, fs};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use ui_tests::shapes::{Counts, NOT_YET, REASONS};
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

#[test]
fn every_rule_is_shown_in_every_main_shape_or_says_why_not() {
    let cases = suite::all().expect("the cases");
    let contract = contract();
    let rules: Vec<_> = contract.iter().map(String::as_str).collect();
    let rules: Vec<_> = rules.into_iter().filter(|id| id.starts_with('R')).collect();
    let complaints = Counts::of(&cases).complaints(&rules, REASONS);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn what_does_not_exist_yet_is_what_the_contract_says() {
    let text = include_str!("../../design/contract.md");
    let rows = text
        .lines()
        .filter(|row| row.contains("do not exist yet |"));
    let ids = rows.filter_map(|row| row.strip_prefix("| ")?.split(' ').next());
    let known: Vec<_> = NOT_YET.iter().map(|(rule, _)| *rule).collect();
    assert_eq!(ids.collect::<Vec<_>>(), known);
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

/// The functions that a header names, and whether the one before calls it:
/// `blk_drain() -> BlockDriver.bdrv_drain_begin(), bdrv_ref()`.
fn functions(qemu: &str) -> Vec<(&str, bool)> {
    let qemu = qemu.split(" Shape: ").next().unwrap_or_default();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let ends = qemu.split("()").enumerate().map(|(index, text)| {
        let name = text.rsplit(|c| !is_name(c)).next().unwrap_or_default();
        (name, index > 0 && !text.starts_with([',', ';']))
    });
    let mut named: Vec<_> = ends.collect();
    // After the last call stands no function.
    named.pop();
    named
}

/// All names of a program, at whatever depth.
fn names(tokens: TokenStream) -> BTreeSet<String> {
    let of_one = tokens.into_iter().map(|token| match token {
        TokenTree::Ident(name) => BTreeSet::from([name.to_string()]),
        TokenTree::Group(group) => names(group.stream()),
        _ => BTreeSet::new(),
    });
    of_one.flatten().collect()
}

/// The functions of a program, each with the names in its body.
fn bodies(tokens: TokenStream) -> Vec<(String, BTreeSet<String>)> {
    let mut found = Vec::new();
    let (mut is_name, mut function) = (false, None);
    for token in tokens {
        match &token {
            TokenTree::Ident(name) if is_name => function = Some(name.to_string()),
            TokenTree::Punct(end) if end.as_char() == ';' => function = None,
            TokenTree::Group(group) => {
                if group.delimiter() == Delimiter::Brace {
                    let names = names(group.stream());
                    found.extend(function.take().map(|function| (function, names)));
                }
                found.extend(bodies(group.stream()));
            }
            _ => {}
        }
        is_name = matches!(&token, TokenTree::Ident(name) if name == "fn");
    }
    found
}

#[test]
fn every_recorded_chain_has_a_case_of_its_own_with_all_its_functions() {
    let cases = suite::all().expect("the cases");
    for finding in chains() {
        let own = cases.iter().filter(|case| case.id.starts_with(&finding));
        let own: Vec<_> = own.collect();
        let [case] = own[..] else {
            panic!("{finding} has {} cases", own.len());
        };
        let functions = functions(&case.header.qemu);
        assert!(!functions.is_empty(), "{}: no chain", case.id);
        for file in ["bad.rs", "good.rs"] {
            let source: TokenStream = case.read(file).expect("read before").parse().expect("Rust");
            let names = names(source.clone());
            for (name, _) in &functions {
                assert!(names.contains(*name), "{}: {file} lacks {name}", case.id);
            }
            // What is right may call some of them from elsewhere.
            let bodies = bodies(source);
            let calls = |by: &str, name: &str| {
                let mut bodies = bodies.iter();
                file == "good.rs" || bodies.any(|(is, names)| is == by && names.contains(name))
            };
            for pair in functions.windows(2) {
                let [(by, _), (name, is_called)] = pair else {
                    unreachable!("windows of two");
                };
                assert!(
                    !is_called || calls(by, name),
                    "{}: {by}() does not call {name}()",
                    case.id
                );
            }
        }
    }
}
