//! The files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Failure;

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The text of a file, named from the root.
///
/// # Errors
/// [`Failure::File`].
pub fn read(name: &str) -> Result<String, Failure> {
    let path = root().join(name);
    fs::read_to_string(&path).map_err(|error| Failure::File { path, error })
}

/// The files below a directory, named from the root, in order; without what
/// builds leave.
///
/// # Errors
/// [`Failure::File`].
pub fn files(dir: &str, extension: &str) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    walk(&root(), Path::new(dir), extension, &mut found)?;
    found.sort();
    Ok(found)
}

fn walk(root: &Path, dir: &Path, extension: &str, found: &mut Vec<String>) -> Result<(), Failure> {
    let path = root.join(dir);
    let failed = |error| Failure::File {
        path: path.clone(),
        error,
    };
    for entry in fs::read_dir(&path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = dir.join(entry.file_name());
        if entry.file_type().map_err(failed)?.is_dir() {
            if entry.file_name() != "target" {
                walk(root, &name, extension, found)?;
            }
        } else if name.extension().is_some_and(|e| e == extension) {
            found.push(name.to_string_lossy().into_owned());
        }
    }
    Ok(())
}
