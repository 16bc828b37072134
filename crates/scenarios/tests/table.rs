//! The table in `README.md` is that of the sources: each scenario has the test
//! that it names, and each test its scenario.
//!
//! `UPDATE_TABLE=1 cargo test -p scenarios --test table` writes it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use scenarios::table::{Outcome, SUITES, Test, package, render, replace, tests_in, tests_of};
use test_support::page;

#[test]
fn the_readme_has_the_table() {
    let path = package().join("README.md");
    let readme = fs::read_to_string(&path).expect("README.md");
    let tables = render().expect("tables");
    let expected = replace(&readme, &tables).expect("a place for the tables");
    page::keep(&path, &expected, "-p scenarios --test table");
}

#[test]
fn every_test_replays_a_scenario_and_says_which() {
    for suite in &SUITES {
        let here = suite.scenarios.iter().filter(|row| row.test == Test::Here);
        let mut expected = BTreeSet::new();
        for scenario in here {
            expected.insert((suite.name_of(scenario.path), scenario.path));
        }
        let mut found = BTreeSet::new();
        let tests = tests_in(suite.name).expect("sources");
        for test in &tests {
            let mut paths = suite.scenarios.iter().map(|row| row.path);
            let quoted = |path: &&str| test.docs.starts_with(&format!(" `{path}`"));
            let path = paths.find(quoted);
            found.insert((
                test.name.clone(),
                path.unwrap_or("its docs begin with no path"),
            ));
        }
        assert_eq!(found, expected, "{}", suite.origin);
        assert_eq!(tests.len(), found.len(), "{}: a name twice", suite.origin);
    }
}

#[test]
fn tests_elsewhere_exist_and_say_what_they_replay() {
    let rows = SUITES.iter().flat_map(|suite| suite.scenarios);
    let mut seen = 0;
    for scenario in rows {
        let Test::There { file, name } = scenario.test else {
            continue;
        };
        seen += 1;
        let tests = tests_of(&Path::new("..").join(file)).expect("a source");
        let test = tests.iter().find(|test| test.name == name);
        let test = test.unwrap_or_else(|| panic!("{file} has no test {name}"));
        let quoted = format!("`{}`", scenario.path);
        assert!(
            test.docs.contains(&quoted),
            "{file}: {name} does not name {quoted}"
        );
    }
    assert!(seen > 0);
}

/// So many there are in the programs, as far as they were taken down.
#[test]
fn no_scenario_is_missing_or_there_twice() {
    let counts = SUITES.each_ref().map(|suite| suite.scenarios.len());
    assert_eq!(counts, [20, 4, 15, 2, 18, 4, 12, 6, 5, 27]);
    for suite in &SUITES {
        let paths: BTreeSet<_> = suite.scenarios.iter().map(|row| row.path).collect();
        assert_eq!(paths.len(), suite.scenarios.len(), "{}", suite.origin);
    }
}

#[test]
fn what_is_the_same_is_shown_to_be() {
    for scenario in SUITES.iter().flat_map(|suite| suite.scenarios) {
        let has_test = scenario.test != Test::None;
        match scenario.outcome {
            Outcome::Same => assert!(has_test, "{}", scenario.path),
            Outcome::Differs(why) => {
                assert!(has_test && why.len() > 20, "{}", scenario.path);
            }
            Outcome::NoCounterpart(why) => assert!(why.len() > 20, "{}", scenario.path),
        }
    }
}
