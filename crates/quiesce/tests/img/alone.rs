//! What there is nothing to compare with.

use std::fs;
use std::process::Command;

use test_support::Random;

use crate::both::{Place, ours};

#[test]
fn it_is_a_subcommand_too_and_explains_itself() {
    let run = |line: &[&str]| {
        let output = Command::new(ours()).arg("img").args(line).output();
        let output = output.expect("it starts");
        assert!(output.status.success(), "{line:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let help = run(&["--help"]);
    for command in [
        "amend", "bench", "bitmap", "check", "commit", "compare", "convert", "create", "dd",
        "info", "map", "measure", "rebase", "resize", "snapshot",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
        let own = run(&[command, "--help"]);
        assert!(
            own.starts_with(&format!("Usage: qemu-img {command} ")),
            "{own}"
        );
        assert!(own.lines().count() > 5, "{own}");
        assert!(own.lines().all(|line| line.len() <= 100), "{own}");
    }
    assert!(run(&["--version"]).starts_with("qemu-img version "));
}

#[test]
fn a_target_that_cannot_be_written_fails_the_conversion() {
    let place = Place::new(ours());
    let full = place.run(&["convert", "-n", "-S", "0", "a", "/dev/full"]);
    assert_eq!(full.status.code(), Some(1));
    let small = place.run(&["convert", "-n", "big", "small"]);
    assert_eq!(small.status.code(), Some(1));
    assert_eq!(fs::read(place.path("small")).expect("there"), [0; 4096]);
}

/// Clusters are packed side by side, which takes the longer the more there is
/// to them; each is stored behind the one before.
#[test]
fn a_compressed_image_does_not_depend_on_who_was_faster() {
    let place = Place::new(ours());
    let mut random = Random(1);
    let clusters = (0..48_usize).flat_map(|cluster| {
        let busy = (cluster * 29 % 48) * 1200;
        let mut bytes = vec![b'.'; 65536];
        for byte in &mut bytes[..busy] {
            *byte = random.next(16) as u8;
        }
        bytes
    });
    let source: Vec<u8> = clusters.collect();
    fs::write(place.path("source"), &source).expect("written");
    let mut first = None;
    for lanes in ["1", "2", "8", "16", "8", "8"] {
        let line = [
            "convert", "-f", "raw", "-O", "qcow2", "-c", "-m", lanes, "source", "packed",
        ];
        assert!(place.run(&line).status.success());
        let packed = fs::read(place.path("packed")).expect("there");
        assert!(packed.len() < source.len());
        let first = first.get_or_insert_with(|| packed.clone());
        assert!(*first == packed, "-m {lanes}");
    }
    let back = ["convert", "-f", "qcow2", "-O", "raw", "packed", "again"];
    assert!(place.run(&back).status.success());
    assert!(fs::read(place.path("again")).expect("there") == source);
}

#[test]
fn whoever_closes_the_output_is_no_reason_to_panic() {
    let place = Place::new(ours());
    let script = format!(
        "'{}' img map --output=json sparse | true; echo ${{PIPESTATUS[0]}}",
        ours().display()
    );
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(place.path("."))
        .output()
        .expect("bash starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n");
}

#[test]
fn zeroes_become_holes() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new(ours());
    assert!(place.run(&["convert", "sparse", "copy"]).status.success());
    let copy = fs::metadata(place.path("copy")).expect("there");
    assert_eq!(copy.len(), 4 << 20);
    assert!(copy.blocks() * 512 < 1 << 20, "{} blocks", copy.blocks());
    assert!(
        place
            .run(&["convert", "-S", "0", "sparse", "full"])
            .status
            .success()
    );
    let full = fs::metadata(place.path("full")).expect("there");
    assert!(full.blocks() * 512 >= 4 << 20, "{} blocks", full.blocks());
}
