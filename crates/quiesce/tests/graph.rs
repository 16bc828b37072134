//! `quiesce graph`, as a user runs it.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

fn graph(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quiesce"));
    command.arg("graph").args(arguments);
    command.output().expect("quiesce starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What is printed when all goes well.
fn drawn(arguments: &[&str]) -> String {
    let output = graph(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
}

fn refused(arguments: &[&str]) -> String {
    let output = graph(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    assert_eq!(text(&output.stdout), "");
    text(&output.stderr)
}

const SHARED: &str = r#"[{"driver":"null-co","node-name":"device","size":8192},
    {"driver":"raw","node-name":"first","file":"device","size":4096},
    {"driver":"stats","node-name":"counted","file":{"driver":"raw","node-name":"rest","file":"device","offset":4096}}]"#;

#[test]
fn a_tree_is_printed_for_terminals() {
    let tree = drawn(&[SHARED]);
    assert_eq!(
        tree,
        "first (raw, 4 KiB, writable)\n\
         └─ file ---- RWU-: device (null-co, 8 KiB, writable)\n\
         counted (stats, 4 KiB, writable)\n\
         └─ file ---- RWUZ: rest (raw, 4 KiB, writable)\n   \
            └─ file ---- RWU-: device (see above)\n"
    );
    assert_eq!(drawn(&["--text", SHARED]), tree);
    assert_eq!(drawn(&["--format", "text", SHARED]), tree);
}

#[test]
fn pictures_are_written_where_and_as_the_user_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| {
        directory
            .path()
            .join(name)
            .to_str()
            .expect("text")
            .to_owned()
    };
    let json = path("graph.json");
    fs::write(&json, SHARED).expect("written");
    for (name, beginning) in [
        ("out.svg", "<svg"),
        ("out.dot", "digraph"),
        ("out.gv", "digraph"),
    ] {
        assert_eq!(drawn(&["-o", &path(name), &json]), "");
        let file = fs::read_to_string(path(name)).expect("a picture");
        assert!(file.starts_with(beginning), "{file}");
        for node in ["device", "first", "counted", "rest"] {
            assert!(file.contains(node), "{name} lacks {node}");
        }
    }
    assert!(drawn(&["-o", "-", &json]).starts_with("<svg"));
    assert!(drawn(&["-o", "-", "--format", "dot", &json]).starts_with("digraph"));
    assert_eq!(
        drawn(&["-o", &path("picture"), "--format", "svg", &json]),
        ""
    );
    assert!(
        fs::read_to_string(path("picture"))
            .expect("a picture")
            .starts_with("<svg")
    );
    assert!(refused(&["-o", &path("out.png"), &json]).contains("cannot tell from"));
}

#[test]
fn options_come_from_the_standard_input_too() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quiesce"));
    command
        .args(["graph", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("quiesce starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin
        .write_all(br#"{"driver":"null-co","node-name":"n"}"#)
        .expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("quiesce ends");
    assert_eq!(text(&output.stdout), "n (null-co, 1 GiB, writable)\n");
}

#[test]
fn an_image_that_may_not_be_written_is_drawn_and_none_is_changed() {
    let directory = tempfile::tempdir().expect("a directory");
    let image = directory.path().join("image");
    fs::write(&image, [7; 4096]).expect("written");
    let options = format!(
        r#"{{"driver":"raw","node-name":"r","read-only":true,"file":{{"driver":"file","node-name":"f","filename":"{}"}}}}"#,
        image.display()
    );
    assert_eq!(
        drawn(&[&options]),
        "r (raw, 4 KiB, read-only)\n└─ file ---- RWUZ: f (file, 4 KiB, read-only)\n"
    );
    assert_eq!(fs::read(&image).expect("there"), [7; 4096]);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    assert_eq!(
        refused(&[r#"[{"driver":"null-co"},{"driver":"raw","file":"nobody"}]"#]),
        "quiesce graph: node 1: Cannot find device='nobody' nor node-name='nobody'\n"
    );
    let unknown = refused(&[r#"{"driver":"raww"}"#]);
    assert!(
        unknown.starts_with("quiesce graph: node 0: Unknown driver 'raww'\nKnown drivers: "),
        "{unknown}"
    );
    assert!(refused(&["{"]).starts_with("quiesce graph: JSON parse error, "));
    assert!(refused(&["/nosuch.json"]).contains("cannot read '/nosuch.json'"));
    assert_eq!(graph(&[]).status.code(), Some(2));
}

#[test]
fn the_example_of_the_help_works() {
    let help = drawn(&["--help"]);
    let begin = help.find("'{").expect("an example") + 1;
    let end = begin + help[begin..].find("}}'").expect("its end") + 2;
    let tree = drawn(&[&help[begin..end]]);
    assert!(
        tree.starts_with("disk (raw, 1 GiB, writable)\n└─ file "),
        "{tree}"
    );
    let first = tree
        .lines()
        .nth(1)
        .expect("a child")
        .split(':')
        .next()
        .expect("an edge");
    assert!(help.contains(first), "the help shows '{first}'");
}
