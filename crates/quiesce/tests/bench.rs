//! `quiesce bench`, as a user runs it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quiesce"));
    command.arg("bench").args(arguments);
    command.output().expect("quiesce starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn lines(arguments: &[&str]) -> Vec<String> {
    let output = bench(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout).lines().map(str::to_owned).collect()
}

fn refused(arguments: &[&str]) -> String {
    let output = bench(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    text(&output.stderr)
}

/// An image in a directory of its own.
struct Image {
    path: PathBuf,
    _directory: TempDir,
}

impl Image {
    fn new(contents: &[u8]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("image");
        fs::write(&path, contents).expect("written");
        Image {
            path,
            _directory: directory,
        }
    }

    fn name(&self) -> &str {
        self.path.to_str().expect("text")
    }

    fn contents(&self) -> Vec<u8> {
        fs::read(&self.path).expect("read")
    }
}

/// Checks the line with the time, and that it is the last one.
#[track_caller]
fn assert_completed(lines: &[String], count: usize) {
    assert_eq!(lines.len(), count, "{lines:?}");
    let last = &lines[count - 1];
    let seconds = last
        .strip_prefix("Run completed in ")
        .and_then(|rest| rest.strip_suffix(" seconds."));
    let seconds = seconds.unwrap_or_else(|| panic!("no time in {last}"));
    assert_eq!(
        seconds.split_once('.').expect("a fraction").1.len(),
        3,
        "{last}"
    );
    assert!(seconds.parse::<f64>().is_ok(), "{last}");
}

#[test]
fn the_result_has_the_lines_that_scripts_know() {
    let image = Image::new(&[7; 1 << 20]);
    let read = lines(&["-f", "raw", "-c", "1000", image.name()]);
    assert_eq!(
        read[0],
        "Sending 1000 read requests, 4096 bytes each, 64 in parallel (starting at offset 0, step size 4096)"
    );
    assert_completed(&read, 2);
    let arguments = [
        "-f",
        "raw",
        "-w",
        "-c",
        "70",
        "-d",
        "4",
        "-s",
        "512",
        "-S",
        "1k",
        "-o",
        "4k",
        "--pattern",
        "0xa5",
        "--flush-interval",
        "4",
    ];
    let written = lines(&[&arguments[..], &[image.name()]].concat());
    assert_eq!(
        written[..2],
        [
            "Sending 70 write requests, 512 bytes each, 4 in parallel (starting at offset 4096, step size 1024)",
            "Sending flush every 4 requests"
        ]
    );
    assert_completed(&written, 3);
    for (sector, bytes) in image.contents().chunks(512).enumerate() {
        let is_hit = (8..8 + 140).contains(&sector) && sector % 2 == 0;
        let expected = if is_hit { 0xa5 } else { 7 };
        assert!(
            bytes.iter().all(|&byte| byte == expected),
            "sector {sector}"
        );
    }
    assert_eq!(
        lines(&["-q", "-f", "raw", "-c", "10", image.name()]),
        [""; 0]
    );
}

#[test]
fn requests_go_on_at_the_beginning() {
    let image = Image::new(&[0; 12288]);
    let arguments = [
        "-q",
        "-w",
        "--pattern=1",
        "-f",
        "raw",
        "-c",
        "3",
        "-s",
        "1000",
        "-S",
        "2000",
        "-o",
        "9000",
    ];
    lines(&[&arguments[..], &[image.name()]].concat());
    // At 9000 and 11000, and then at 13000, which is 712.
    let written = |at: usize| {
        (9000..10000).contains(&at) || (11000..12000).contains(&at) || (712..1712).contains(&at)
    };
    for (at, &byte) in image.contents().iter().enumerate() {
        assert_eq!(byte == 1, written(at), "offset {at}");
    }
}

#[test]
fn every_way_to_flush_comes_to_an_end() {
    let image = Image::new(&[0; 1 << 16]);
    for depth in ["1", "2", "7"] {
        for interval in ["7", "8", "20"] {
            for more in [
                &[][..],
                &["--no-drain"],
                &["--iothread"],
                &["-t", "writethrough"],
                &["-i", "threads"],
            ] {
                let arguments = [
                    "-w",
                    "-f",
                    "raw",
                    "-c",
                    "100",
                    "-d",
                    depth,
                    "--flush-interval",
                    interval,
                ];
                let lines = lines(&[&arguments[..], more, &[image.name()]].concat());
                assert_completed(&lines, 3);
            }
        }
    }
}

#[test]
fn a_request_that_fails_ends_the_run() {
    let image = Image::new(&[0; 10000]);
    let beyond = refused(&["-f", "raw", "-c", "10", image.name()]);
    assert!(
        beyond.starts_with("quiesce bench: Failed request: Input/output error\n"),
        "{beyond}"
    );
    // Also while others wait for a flush that will not come.
    for more in [
        &["-d", "3", "--flush-interval", "3"][..],
        &["-d", "2", "--flush-interval", "2", "--no-drain"],
    ] {
        let arguments = ["-w", "-f", "raw", "-c", "50", image.name()];
        let failed = refused(&[&arguments[..], more].concat());
        assert!(failed.contains("Failed request: "), "{failed}");
    }
}

#[test]
fn figures_are_there_as_json() {
    for more in [&[][..], &["--iothread"]] {
        let arguments = [
            "--image-opts",
            "driver=null-co,size=1M",
            "-c",
            "5000",
            "-d",
            "8",
            "-s",
            "8k",
            "--json",
        ];
        let output = lines(&[&arguments[..], more].concat());
        assert_completed(&output[..2], 2);
        let report: Value = serde_json::from_str(&output[2]).expect("JSON");
        assert_eq!(report["requests"], 5000);
        assert_eq!(report["bytes"], 5000 * 8192);
        assert_eq!(report["direction"], "read");
        let seconds = report["seconds"].as_f64().expect("a number");
        let each = report["ns_per_request"].as_f64().expect("a number");
        assert!((each * 5000.0 - seconds * 1e9).abs() < 1e4, "{report}");
        let quiet = lines(&[&arguments[..], &["-q"], more].concat());
        assert_eq!(quiet.len(), 1);
    }
}

#[test]
fn images_are_named_as_for_qemu() {
    let image = Image::new(&[0; 8192]);
    let json = format!(
        r#"json:{{"driver":"raw","file":{{"driver":"file","filename":"{}"}}}}"#,
        image.name()
    );
    let options = format!(
        "driver=raw,file.driver=stats,file.file.filename={}",
        image.name()
    );
    for arguments in [
        &["null-co://"][..],
        &["-f", "null-co", "null-co://"],
        &["-f", "file", image.name()],
        &["-f", "stats", image.name()],
        &["-U", image.name()],
        &["-i", "threads", image.name()],
        &[&*json],
        &["--image-opts", &*options],
        &["--image-opts", "-i", "threads", &*options],
    ] {
        assert_completed(&lines(&[&["-c", "2"], arguments].concat()), 2);
    }
}

#[test]
fn what_is_wrong_is_said_in_qemus_words() {
    let image = Image::new(&[0; 8192]);
    let name = image.name();
    let native =
        "aio=native was specified, but it requires cache.direct=on, which was not specified.";
    for (arguments, message) in [
        (
            &["-c", "0", name][..],
            "Invalid request count specified. Must be between 1 and 2147483647.".to_owned(),
        ),
        (
            &["-S", "-1", name],
            "Invalid step size specified. Must be between 0 and 2147483647.".to_owned(),
        ),
        (&[], "Expecting one image file name".to_owned()),
        (
            &["--flush-interval=64", name],
            "--flush-interval is only available in write tests".to_owned(),
        ),
        (
            &["-f", "raw", "/nosuch"],
            "Could not open '/nosuch': Could not open '/nosuch': No such file or directory"
                .to_owned(),
        ),
        (
            &["-n", "-f", "raw", name],
            format!("Could not open '{name}': {native}"),
        ),
        (
            &["--image-opts", "driver=x"],
            "Could not open 'driver=x': Unknown driver 'x'".to_owned(),
        ),
        (
            &["-f", "raw", "-w", "-U", name],
            format!(
                "Could not open '{name}': force-share=on can only be used with read-only images"
            ),
        ),
        (
            &["-w", "--image-opts", "driver=null-co,read-only=on"],
            "Could not open 'driver=null-co,read-only=on': Block node is read-only".to_owned(),
        ),
    ] {
        let said = refused(arguments);
        let first = said.lines().next().unwrap_or_default();
        assert_eq!(first, format!("quiesce bench: {message}"), "{arguments:?}");
    }
    assert_eq!(bench(&["--bogus"]).status.code(), Some(2));
}

#[test]
fn a_guessed_format_is_warned_of_before_it_is_written_to() {
    let image = Image::new(&[0; 8192]);
    let output = bench(&["-w", "-c", "1", image.name()]);
    assert!(output.status.success());
    assert!(text(&output.stderr).starts_with("WARNING: Image format was not specified for '"));
    for quiet in [&["-w", "-f", "raw"][..], &["-U"]] {
        let output = bench(&[quiet, &["-c", "1", image.name()]].concat());
        assert!(output.status.success());
        assert_eq!(text(&output.stderr), "");
    }
}
