//! Pictures of the graph.
//!
//! [`Snapshot`] copies what is to be seen out of the graph, in the main loop
//! and with a shared proof. From then on it is plain data: [`layout`] finds
//! places, [`svg`] and [`dot`] write files. None of them needs a proof, nor
//! could change anything.

pub mod dot;
pub mod layout;
mod snapshot;
pub mod svg;

pub use snapshot::{Above, BackendShape, EdgeShape, NodeShape, Snapshot};

use std::io;
use std::path::{Path, PathBuf};

use block_gs::Perm;

/// Writes `name.svg` and `name.dot` into a directory. Returns where they are.
///
/// # Errors
/// What the system says, and for which file.
pub fn write(
    snapshot: &Snapshot,
    dir: &Path,
    name: &str,
    title: &str,
    subtitle: &str,
) -> Result<[PathBuf; 2], (PathBuf, io::Error)> {
    let write = |extension: &str, text: String| {
        let path = dir.join(format!("{name}.{extension}"));
        match std::fs::write(&path, text) {
            Ok(()) => Ok(path),
            Err(error) => Err((path, error)),
        }
    };
    Ok([
        write("svg", svg::render(snapshot, title, subtitle))?,
        write("dot", dot::render(snapshot, title))?,
    ])
}

/// A set of permissions in four columns: `R` consistent read, `W` write, `U`
/// write unchanged, `Z` resize.
pub fn letters(perm: Perm) -> String {
    let columns = [
        (Perm::CONSISTENT_READ, 'R'),
        (Perm::WRITE, 'W'),
        (Perm::WRITE_UNCHANGED, 'U'),
        (Perm::RESIZE, 'Z'),
    ];
    let column = |(one, letter)| if perm.contains(one) { letter } else { '-' };
    columns.into_iter().map(column).collect()
}

/// A length in the largest binary unit that divides it, or that leaves one
/// decimal.
pub fn length(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut scaled = bytes as f64 / 1024.0;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let rounded = (scaled * 10.0).round() / 10.0;
    format!("{rounded} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_have_columns() {
        assert_eq!(letters(Perm::empty()), "----");
        assert_eq!(letters(Perm::all()), "RWUZ");
        assert_eq!(letters(Perm::CONSISTENT_READ | Perm::RESIZE), "R--Z");
    }

    #[test]
    fn lengths_read_well() {
        assert_eq!(length(512), "512 B");
        assert_eq!(length(4 << 20), "4 MiB");
        assert_eq!(length((3 << 29) + 1), "1.5 GiB");
        assert_eq!(length(u64::MAX), "16 EiB");
    }
}
