//! Places with little room, for tests of what happens when there is no more.
//!
//! Nobody else's room is taken: a limit or a small file system of its own is
//! what a child process finds, which runs one test of the same program.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tells the child process where there is little room.
const PLACE: &str = "QUIESCE_TEST_LITTLE_ROOM";

/// The exit code of a place that could not be made.
const NOT_ALLOWED: i32 = 77;

/// What is little.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Little {
    /// Files cannot be longer than some hundred KiB (`RLIMIT_FSIZE`); whoever
    /// tries gets `EFBIG`.
    Files,
    /// The file system has 256 KiB; whoever wants more gets `ENOSPC`.
    FileSystem,
}

/// Runs the test called `test` (with its modules, without its crate) in a child
/// process, for which there is little room in `directory`. There
/// [`little_room`] says so. Returns whether the system allows it: a limit
/// always, a file system not in every container, which is said then.
///
/// # Panics
/// When the test fails, or there is none of that name.
#[track_caller]
pub fn with_little_room(little: Little, directory: &Path, test: &str) -> bool {
    let script = match little {
        Little::Files => {
            format!("ulimit -f 256 || exit {NOT_ALLOWED}; trap '' XFSZ; exec \"$0\" \"$@\"")
        }
        Little::FileSystem => format!(
            "mount -t tmpfs -o size=256k none \"${PLACE}\" || exit {NOT_ALLOWED}; exec \"$0\" \"$@\""
        ),
    };
    let mut command = match little {
        Little::Files => Command::new("sh"),
        Little::FileSystem if !has_namespaces() => {
            println!("SKIPPED: this process may not mount a file system of its own");
            return false;
        }
        Little::FileSystem => {
            let mut command = Command::new("unshare");
            command.args(["-Urm", "sh"]);
            command
        }
    };
    let output = command
        .args(["-c", &script])
        .arg(env::current_exe().expect("a path"))
        .args(["--exact", test, "--nocapture"])
        .env(PLACE, directory)
        .output()
        .expect("a shell");
    if output.status.code() == Some(NOT_ALLOWED) {
        println!("SKIPPED: this process may not have little room");
        return false;
    }
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("1 passed"), "{said}");
    true
}

/// In a child of [`with_little_room`] the directory. Elsewhere `None`: the
/// calling test, which is for the child, has nothing to do then.
pub fn little_room() -> Option<PathBuf> {
    env::var_os(PLACE).map(PathBuf::from)
}

fn has_namespaces() -> bool {
    let tried = Command::new("unshare").args(["-Urm", "true"]).output();
    tried.is_ok_and(|output| output.status.success())
}
