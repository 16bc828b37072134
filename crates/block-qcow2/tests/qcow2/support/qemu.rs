//! What QEMU says of an image.

use std::ffi::OsStr;
use std::path::Path;

use block_gs::BqlGuard;

use super::{Tool, at_a_path};

/// Runs a test beside `qemu-img`, at a path where nothing is yet. Without it the
/// test is skipped.
#[track_caller]
pub fn beside_qemu_img(test: impl FnOnce(&mut BqlGuard, &Path, &Tool)) {
    if let Some(qemu_img) = Tool::find("qemu-img") {
        at_a_path(|bql, path| test(bql, path, &qemu_img));
    }
}

/// Its path, as the tools take it.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// QEMU finds nothing wrong with the image, nor leaks.
#[track_caller]
pub fn assert_sound(qemu_img: &Tool, path: &Path) {
    let check = qemu_img.run(["check", text(path)]);
    assert!(
        check.status.success(),
        "{}{}",
        String::from_utf8_lossy(&check.stdout),
        String::from_utf8_lossy(&check.stderr)
    );
}

/// What QEMU reads in an image.
pub fn qemu_reads(qemu_img: &Tool, path: &Path) -> Vec<u8> {
    let raw = path.with_extension("raw");
    qemu_img.succeed([
        OsStr::new("convert"),
        "-O".as_ref(),
        "raw".as_ref(),
        path.as_ref(),
        raw.as_ref(),
    ]);
    let bytes = std::fs::read(&raw).expect("converted");
    std::fs::remove_file(raw).expect("it was there");
    bytes
}

/// QEMU finds nothing wrong with the image, and reads what was written.
#[track_caller]
pub fn assert_sound_and_reads(qemu_img: &Tool, path: &Path, expected: &[u8]) {
    assert_sound(qemu_img, path);
    let seen = qemu_reads(qemu_img, path);
    assert!(seen == expected, "QEMU reads something else");
}
