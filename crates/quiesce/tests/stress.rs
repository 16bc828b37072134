//! The soak run, as a user runs it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn stress(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quiesce"))
        .arg("stress")
        .args(arguments)
        .args(["--json", "--size", "128", "--dir"])
        .arg(dir)
        .output()
        .expect("quiesce starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn last_line(output: &Output) -> Value {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let line = stdout.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {stdout}{}", said(output)))
}

#[test]
fn some_seconds_of_it_find_nothing_wrong_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    for seed in ["1", "2"] {
        let output = stress(dir.path(), &["--seconds", "2", "--seed", seed]);
        assert!(output.status.success(), "{}", said(&output));
        let report = last_line(&output);
        for key in [
            "requests",
            "requests_cancelled",
            "bytes_verified",
            "bytes_written",
            "graph_steps",
            "drained_sections",
            "final_bytes_verified",
        ] {
            assert!(report[key].as_u64() > Some(0), "{key} in {report}");
        }
        assert_eq!(report["seed"].to_string(), seed);
        let left = fs::read_dir(dir.path()).expect("listed").count();
        assert_eq!(left, 0, "the images are removed");
    }
}

#[test]
fn a_spoilt_file_is_found_and_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let arguments = ["--seconds", "1", "--seed", "3", "--inject-corruption"];
    let output = stress(dir.path(), &arguments);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for words in [
        "corruption",
        "'disk0'",
        "The last graph steps:",
        "--seed 3",
        "failure.svg",
    ] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    let kept = fs::read_dir(dir.path()).expect("listed").flatten().next();
    let kept = kept.expect("the images are kept").path();
    assert!(kept.join("failure.dot").exists() && kept.join("disk0-0.raw").exists());
}

#[test]
fn a_directory_that_is_not_there_is_said() {
    let output = stress(Path::new("/nonexistent/directory"), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("--dir"));
}
