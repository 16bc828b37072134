//! Each case fails for the reason that it gives; see [`ui_tests::reasons`].

use std::fs;
use std::process::Command;

use ui_tests::reasons::{complaints, names_the_proof};
use ui_tests::suite::{self, Case, Kind};

fn cases(kind: Kind) -> Vec<Case> {
    let all = suite::all().expect("the cases");
    all.into_iter().filter(|case| case.kind == kind).collect()
}

#[test]
fn every_case_fails_for_its_reason() {
    let mut wrong = Vec::new();
    for case in cases(Kind::Rejected) {
        let texts = ["bad.rs", "bad.stderr", "good.rs"].map(|file| case.read(file));
        match texts {
            [Ok(bad), Ok(stderr), Ok(good)] => {
                let found = complaints(&bad, &stderr, &good);
                wrong.extend(found.into_iter().map(|what| format!("{}: {what}", case.id)));
            }
            missing => wrong.extend(missing.into_iter().filter_map(Result::err)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_message_names_the_proof_that_it_is_about() {
    let silent: Vec<_> = cases(Kind::Rejected)
        .into_iter()
        .filter(|case| {
            let stderr = case.read("bad.stderr").expect("bad.stderr");
            !names_the_proof(&case.header.rule, &stderr)
        })
        .map(|case| case.id)
        .collect();
    assert_eq!(silent, [""; 0], "the API should say more there");
}

#[test]
fn nothing_else_lies_about() {
    let files = |kind| match kind {
        Kind::Rejected => &["bad.rs", "bad.stderr", "good.rs"][..],
        Kind::Accepted => &["accept.rs"],
        Kind::Limit => &["compiles.rs"],
    };
    for case in suite::all().expect("the cases") {
        for entry in fs::read_dir(&case.dir).expect("a directory") {
            let name = entry.expect("an entry").file_name();
            let known = files(case.kind).iter().any(|file| name == *file);
            assert!(known, "{}: {name:?} belongs to nothing", case.id);
        }
    }
    assert!(
        !suite::package().join("wip").exists(),
        "accept what is in `wip` with TRYBUILD=overwrite, or remove it"
    );
}

#[test]
fn cases_are_short() {
    for case in suite::all().expect("the cases") {
        let source = case.read(case.kind.main_file()).expect("read before");
        let lines = source.lines().filter(|line| !line.starts_with("//!"));
        assert!(lines.count() <= 75, "{} is no small program", case.id);
    }
}

/// `cargo fmt` does not see the cases.
#[test]
fn cases_are_formatted() {
    let cases = suite::all().expect("the cases");
    let sources = cases.iter().flat_map(|case| {
        let files = fs::read_dir(&case.dir).expect("a directory");
        files.map(|entry| entry.expect("an entry").path())
    });
    let rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--check"])
        .args(sources.filter(|path| path.extension().is_some_and(|e| e == "rs")))
        .output()
        .expect("rustfmt runs");
    let said = String::from_utf8_lossy(&rustfmt.stdout);
    assert!(rustfmt.status.success(), "{said}");
}
