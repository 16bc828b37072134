//! The command as a user runs it. What it measures is nobody's business here.

use std::path::Path;
use std::process::{Command, Output};

fn measure(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_measure"));
    command.args(arguments);
    command
}

fn succeed(arguments: &[&str]) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = measure(arguments).output().expect("started");
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{arguments:?}: {said}");
    String::from_utf8(stdout).expect("text")
}

#[test]
fn swaps_are_measured_and_printed_as_json() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path().to_str().expect("text");
    let printed = succeed(&["swap", "--quick", "--json", "-q", "--dir", directory]);
    let tables: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    let rows = tables[0]["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 12, "devices, depths and kinds of changes");
    for row in rows {
        assert!(row[3].as_f64().expect("a rate") > 0.0, "{row}");
        let is_changed = row[2] != "none";
        assert_eq!(row[8].is_number(), is_changed, "{row}");
    }
}

#[test]
fn a_missing_tool_is_an_error_that_says_where_it_comes_from() {
    let output = measure(&["requests", "--quick"])
        .env("PATH", "")
        .output()
        .expect("started");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("'qemu-img' is not on PATH"), "{said}");
}

#[test]
fn each_contestant_says_how_long_it_took() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("image");
    std::fs::write(&path, vec![1; 1 << 20]).expect("written");
    let name = path.to_str().expect("text");
    let node = format!("driver=raw,file.driver=file,file.filename={name}");
    let mut contestants = vec![
        vec!["layer", &node, "-c", "100", "-d", "4"],
        vec!["layer", &node, "-c", "100", "-w", "-S", "12288"],
        vec!["layer", &node, "-c", "100", "--holes"],
        vec!["plain", name, "-c", "100"],
        vec!["plain", name, "-c", "100", "--holes"],
        vec!["plain", name, "-c", "100", "-w"],
        vec![
            "change", "filter", "-c", "10", "--depth", "5", "--nodes", "50",
        ],
        vec!["proof", "descend", "proof", "-c", "100"],
        vec!["proof", "descend", "nothing", "-c", "100"],
    ];
    if Path::new("/proc/self/statm").exists() {
        contestants.push(vec!["memory", "add", "--nodes", "1000"]);
    }
    for contestant in contestants {
        let mut arguments = vec!["work"];
        arguments.extend(&contestant);
        let printed = succeed(&arguments);
        let figure = printed
            .trim()
            .trim_start_matches("Run completed in ")
            .trim_end_matches(" seconds.");
        let figure: f64 = figure.parse().expect("a figure");
        assert!(figure > 0.0, "{contestant:?}: {printed}");
    }
}

/// Whether callgrind finds the functions by the names that `proofs` uses, and
/// counts a check at run time.
#[test]
fn a_check_at_run_time_is_counted() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|directory| directory.join("valgrind").is_file()) {
        eprintln!("skipped: valgrind is not installed");
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let count = |variant: &str| -> u64 {
        let out = directory.path().join(variant);
        let mut command = Command::new("valgrind");
        command
            .args(["-q", "--tool=callgrind"])
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(format!(
                "--toggle-collect=*proof_cost::pairs::cell::{variant}*"
            ))
            .arg(env!("CARGO_BIN_EXE_measure"))
            .args(["work", "proof", "cell", variant, "-c", "10"]);
        let output = command.output().expect("started");
        assert!(output.status.success(), "{output:?}");
        let text = std::fs::read_to_string(&out).expect("written");
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        total.expect("a sum").trim().parse().expect("a number")
    };
    let (nothing, checked) = (count("nothing"), count("checked"));
    assert!(nothing > 0, "the function is not found");
    assert!(
        checked > nothing,
        "{checked} instead of more than {nothing}"
    );
}

#[test]
fn images_are_made_written_and_opened() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("image");
    let name = path.to_str().expect("text");
    let node = format!("driver=qcow2,file.driver=file,file.filename={name}");
    succeed(&["work", "create", name, "16777216"]);
    let write = ["layer", &node, "-c", "100", "-d", "4", "-w", "-S", "65536"];
    let said = succeed(&[&["work"], &write[..]].concat());
    assert!(said.starts_with("Run completed in "), "{said}");
    assert_eq!(
        succeed(&["work", "open", &node]),
        format!("{name} 16777216\n")
    );
}
