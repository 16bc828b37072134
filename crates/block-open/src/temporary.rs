//! Files for what is written for a while only.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::{env, fmt};

use block_common::error::errno;
use block_common::{GraphError, IoError};

/// An empty file that goes with this value (`create_tmp_file`): for an overlay
/// that takes writes nobody wants to keep. Whoever has it open keeps it, so it
/// may go as soon as it is open.
pub struct TemporaryFile(tempfile::TempPath);

/// What QEMU asks the system to make a name of, as its message shows it.
const PATTERN: &str = concat!("vl.XX", "XX", "XX");

impl TemporaryFile {
    /// Makes one, which only this user can read: in `$TMPDIR`, else in
    /// `/var/tmp`, for an image may be larger than what `/tmp` holds, which is
    /// memory on many hosts.
    ///
    /// # Errors
    /// [`GraphError::Refused`] with the name of the directory.
    pub fn create() -> Result<Self, GraphError> {
        let directory = match env::var_os("TMPDIR") {
            Some(directory) if !directory.is_empty() => PathBuf::from(directory),
            _ => PathBuf::from("/var/tmp"),
        };
        TemporaryFile::create_in(&directory)
    }

    /// As [`create`](TemporaryFile::create), in this directory.
    ///
    /// # Errors
    /// Those of [`create`](TemporaryFile::create).
    pub fn create_in(directory: &Path) -> Result<Self, GraphError> {
        // What it returns says which file in words, and no longer which error.
        let mut number = errno::EIO;
        let made = tempfile::Builder::new()
            .prefix("vl.")
            .make_in(directory, |path| {
                let mut options = OpenOptions::new();
                options.read(true).write(true).create_new(true).mode(0o600);
                let opened = options.open(path);
                opened.inspect_err(|error| number = error.raw_os_error().unwrap_or(errno::EIO))
            });
        let file = made.map_err(|_| {
            let (directory, reason) = (directory.display(), IoError::from_errno(number));
            GraphError::Refused {
                message: format!("Could not open temporary file '{directory}/{PATTERN}': {reason}"),
                errno: number,
            }
        })?;
        Ok(TemporaryFile(file.into_temp_path()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Debug for TemporaryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TemporaryFile").field(&self.path()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_empty_private_and_gone_afterwards() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = TemporaryFile::create_in(directory.path()).expect("created");
        let path = file.path().to_owned();
        let metadata = std::fs::metadata(&path).expect("there");
        assert_eq!(
            (metadata.len(), metadata.permissions().mode() & 0o777),
            (0, 0o600)
        );
        assert!(path.starts_with(directory.path()));
        let other = TemporaryFile::create_in(directory.path()).expect("created");
        assert_ne!(other.path(), path);
        drop(file);
        assert!(!path.exists());
        let made = TemporaryFile::create().expect("created where they usually are");
        assert!(made.path().exists());
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let refused = TemporaryFile::create_in(Path::new("/nosuch")).expect_err("not there");
        assert_eq!(
            refused.to_string(),
            format!("Could not open temporary file '/nosuch/{PATTERN}': No such file or directory")
        );
        assert_eq!(refused.errno(), 2);
    }
}
