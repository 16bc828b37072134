//! The same images in QEMU's eyes, where `qemu-img` is installed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// `qemu-img`, found on the `PATH`.
#[derive(Debug)]
pub struct QemuImg(());

impl QemuImg {
    /// `None` if there is none.
    pub fn find() -> Option<QemuImg> {
        match Command::new("qemu-img").arg("--version").output() {
            Ok(output) if output.status.success() => Some(QemuImg(())),
            _ => None,
        }
    }

    /// Checks an image. Returns what is wrong with it, if anything is.
    pub fn check(&self, image: &Path) -> io::Result<Option<String>> {
        let output = Command::new("qemu-img")
            .args(["check", "-f", "qcow2"])
            .arg(image)
            .output()?;
        Ok(complaint(&output))
    }

    /// Writes what an image shows, with all that is below, into a raw one.
    pub fn flatten(&self, image: &Path) -> io::Result<Result<PathBuf, String>> {
        let raw = image.with_extension("raw");
        let output = Command::new("qemu-img")
            .args(["convert", "-f", "qcow2", "-O", "raw"])
            .args([image, &raw])
            .output()?;
        Ok(match complaint(&output) {
            None => Ok(raw),
            Some(words) => Err(words),
        })
    }
}

/// All it says, unless it succeeds.
fn complaint(output: &Output) -> Option<String> {
    if output.status.success() {
        return None;
    }
    let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
    let said = said.concat();
    let words: Vec<&str> = said.split_whitespace().collect();
    Some(format!("qemu-img, {}: {}", output.status, words.join(" ")))
}
