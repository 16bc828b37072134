//! The command, as a user runs it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use test_support::Tool;

fn quiesce(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quiesce"));
    command.args(arguments);
    command
}

fn run(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = quiesce(arguments);
    command.arg("--dir").arg(dir);
    command.arg("--pictures").arg(dir.join("pictures"));
    command.output().expect("quiesce starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn last_line(output: &Output) -> Value {
    let stdout = text(&output.stdout);
    let line = stdout.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| {
        panic!(
            "the last line is no JSON: {error}\n{stdout}\n{}",
            text(&output.stderr)
        )
    })
}

fn number(report: &Value, key: &str) -> u64 {
    report[key]
        .as_u64()
        .unwrap_or_else(|| panic!("no {key} in {report}"))
}

#[test]
fn a_second_of_it_finds_nothing_wrong_and_does_something() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = run(
        dir.path(),
        &["--seconds", "1", "--json", "--image-size", "1"],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = last_line(&output);
    for key in [
        "requests",
        "bytes_verified",
        "bytes_written",
        "graph_changes",
        "drained_sections",
        "final_bytes_verified",
    ] {
        assert!(number(&report, key) > 0, "{key} in {report}");
    }
    assert_eq!(number(&report, "corruption"), 0);
    assert!(report["max_pause_us"].is_u64());
    let table = text(&output.stdout);
    assert!(table.contains("Drained sections"), "{table}");
    // However short it is, the chain has had its round.
    for step in [
        "overlays_added",
        "overlays_committed",
        "images_passed",
        "images_rebased",
        "images_reopened",
        "images_checked_in_sections",
    ] {
        assert!(number(&report["steps"], step) > 0, "{step} in {report}");
    }
    assert!(number(&report, "images_checked") > 0, "{report}");
    if Tool::find("qemu-img").is_some() {
        assert_eq!(
            report["images_checked_by_qemu_img"],
            report["images_checked"]
        );
    }
    let chain = fs::read_to_string(dir.path().join("pictures/chain.dot"));
    let chain = chain.expect("a picture of the chain");
    // Which images it has depends on how far the tour came.
    assert!(chain.contains("qcow2-") && chain.contains("backing"));
    for picture in ["before.svg", "before.dot", "after.svg", "after.dot"] {
        let path = dir.path().join("pictures").join(picture);
        let drawn = fs::read_to_string(&path).expect("a picture");
        assert!(drawn.contains("disk0"), "{picture}");
        assert!(table.contains(picture), "{table}");
    }
    let left: Vec<_> = fs::read_dir(dir.path()).expect("listed").collect();
    assert_eq!(left.len(), 1, "the images are removed: {left:?}");
}

#[test]
fn quiet_prints_the_object_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = run(
        dir.path(),
        &["tour", "--seconds", "1", "--json", "--quiet", "--seed", "5"],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 1);
    assert_eq!(text(&output.stderr), "");
    assert_eq!(number(&last_line(&output), "seed"), 5);
}

/// Runs it where `PATH` names this directory alone.
fn with_path(dir: &Path, path: &Path) -> Output {
    let mut command = quiesce(&["--seconds", "1", "--json", "--image-size", "1"]);
    command.arg("--dir").arg(dir);
    command.arg("--pictures").arg(dir.join("pictures"));
    command.env("PATH", path).output().expect("quiesce starts")
}

#[test]
fn without_qemu_img_the_images_are_checked_all_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let nothing = tempfile::tempdir().expect("a directory");
    let output = with_path(dir.path(), nothing.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = last_line(&output);
    assert!(number(&report, "images_checked") > 0, "{report}");
    assert_eq!(report["images_checked_by_qemu_img"], Value::Null);
    let table = text(&output.stdout);
    assert!(table.contains("qemu-img is not installed"), "{table}");
}

#[test]
fn what_qemu_img_finds_fails_the_tour() {
    let dir = tempfile::tempdir().expect("a directory");
    let tools = tempfile::tempdir().expect("a directory");
    let script = "#!/bin/sh\n[ $1 = check ] || exit 0\necho 7 errors were found\nexit 2\n";
    let path = tools.path().join("qemu-img");
    fs::write(&path, script).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    let output = with_path(dir.path(), tools.path());
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("is not consistent"), "{said}");
    assert!(said.contains("7 errors were found"), "{said}");
    assert_eq!(number(&last_line(&output), "failures"), 1);
}

/// Bytes that no sector repeats, and a length that no sector divides.
fn an_image(path: &Path) -> Vec<u8> {
    let bytes: Vec<u8> = (0..300_123_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs::write(path, &bytes).expect("written");
    bytes
}

#[test]
fn an_image_is_read_and_stays_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("disk.img");
    let before = an_image(&image);
    let path = image.to_str().expect("a path in Unicode");
    for more in [&["--image", path][..], &["--image", path, "--write-image"]] {
        let mut arguments = vec!["--seconds", "1", "--json", "--image-size", "1"];
        arguments.extend(more);
        let output = run(dir.path(), &arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(number(&last_line(&output), "requests") > 0);
        assert!(before == fs::read(&image).expect("read"), "{more:?}");
        let drawn = fs::read_to_string(dir.path().join("pictures/before.dot"));
        let drawn = drawn.expect("a picture");
        let read_only = drawn.contains("file, 293.1 KiB, read-only");
        assert_eq!(read_only, more.len() == 2, "{drawn}");
    }
}

#[test]
fn a_spoilt_byte_is_found_and_placed() {
    // It ends with the mismatch, long before.
    const LONG: f64 = 300.0;
    let dir = tempfile::tempdir().expect("a directory");
    let output = run(
        dir.path(),
        &[
            "--seconds",
            &LONG.to_string(),
            "--json",
            "--inject-corruption",
            "--seed",
            "11",
        ],
    );
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    let report = last_line(&output);
    assert!(number(&report, "corruption") >= 1, "{report}");
    assert!(
        report["seconds"]
            .as_f64()
            .is_some_and(|seconds| seconds < LONG),
        "it did not end: {report}"
    );
    for words in [
        "corruption: ",
        "'disk0'",
        "at offset",
        "after graph step",
        "and must be 0x",
        "The last graph steps:",
        "--seed 11",
    ] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
}

#[test]
fn an_interrupt_ends_it_with_the_table() {
    let dir = tempfile::tempdir().expect("a directory");
    let start = Instant::now();
    let child = quiesce(&["--seconds", "600", "--json", "--image-size", "1"])
        .arg("--dir")
        .arg(dir.path())
        .arg("--pictures")
        .arg(dir.path().join("pictures"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("quiesce starts");
    // Ready for it once its images are there: the handler is set before.
    while !fs::read_dir(dir.path()).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.path().join("shared-2.raw").exists())
    }) {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it does not begin"
        );
        thread::sleep(Duration::from_millis(10));
    }
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill starts");
    assert!(killed.success());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("Corruption"));
    assert_eq!(last_line(&output)["interrupted"], Value::Bool(true));
}

#[test]
fn what_cannot_work_is_said_with_a_way_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let message = |output: Output, code| {
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        text(&output.stderr)
    };
    let path = dir.path().to_str().expect("a path in Unicode");
    let no_image = run(dir.path(), &["--image", path]);
    assert!(message(no_image, 1).contains("neither a regular file nor a block device"));
    let missing = quiesce(&["--dir", "/nonexistent/directory"]).output();
    assert!(message(missing.expect("it runs"), 1).contains("--dir"));
    let unknown = quiesce(&["--seconds", "soon"]).output();
    assert!(message(unknown.expect("it runs"), 2).contains("--seconds"));
}

#[test]
fn the_help_teaches() {
    let output = quiesce(&["help", "tour"]).output().expect("it runs");
    let help = text(&output.stdout);
    for words in [
        "Examples:",
        "Exit codes:",
        "in seconds",
        "in MiB",
        "--write-image",
        "drained section",
    ] {
        assert!(help.contains(words), "no {words:?} in {help}");
    }
}
