//! QEMU's own tools, to compare with.
//!
//! **Rule.** Without what it compares with, a test says that it was skipped, and
//! ends. Where `QUIESCE_REQUIRE_QEMU=1` demands the comparison, it fails instead.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What demands the comparison when it is `1`.
const REQUIRE: &str = "QUIESCE_REQUIRE_QEMU";

/// Says that a test ends here, and why: `qemu-nbd is not in PATH`.
///
/// # Panics
/// When the environment demands the comparison.
#[track_caller]
pub fn skip(why: &str) {
    skip_or_fail(why, env::var_os(REQUIRE).as_deref());
}

#[track_caller]
fn skip_or_fail(why: &str, required: Option<&OsStr>) {
    let is_required = required.is_some_and(|value| value == "1");
    assert!(!is_required, "{REQUIRE}=1, but {why}");
    println!("SKIPPED: {why}");
}

/// One of QEMU's programs.
#[derive(Clone, Debug)]
pub struct Tool(PathBuf);

impl Tool {
    /// Looks `name` up in `PATH`. Without it the calling test has nothing to
    /// compare with: it is to end, which is [said](skip) already.
    ///
    /// # Panics
    /// As [`skip`].
    #[track_caller]
    pub fn find(name: &str) -> Option<Tool> {
        let found = Tool::find_in(&env::var_os("PATH").unwrap_or_default(), name);
        if found.is_none() {
            skip(&format!("{name} is not in PATH"));
        }
        found
    }

    fn find_in(path: &OsString, name: &str) -> Option<Tool> {
        let mut candidates = env::split_paths(path).map(|directory| directory.join(name));
        candidates.find(|candidate| candidate.is_file()).map(Tool)
    }

    /// The program itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// It, about to be started, to speak English.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.0);
        command.env("LC_ALL", "C");
        command
    }

    /// Runs it, whatever comes of it.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        let output = self.command().args(arguments).output();
        output.expect("the tool starts")
    }

    /// Runs it, and returns what it prints.
    ///
    /// # Panics
    /// When it reports failure.
    #[track_caller]
    pub fn succeed(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_file_of_the_name_is_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        for name in ["none", "one", "two", "directory/tool"] {
            fs::create_dir_all(at(name)).expect("made");
        }
        for name in ["one/tool", "two/tool"] {
            fs::write(at(name), "").expect("written");
        }
        let find = |names: &[&str]| {
            let path = env::join_paths(names.iter().map(|name| at(name))).expect("names");
            Tool::find_in(&path, "tool").map(|tool| tool.0)
        };
        assert_eq!(
            find(&["none", "directory", "two", "one"]),
            Some(at("two/tool"))
        );
        assert_eq!(find(&["none", "directory", "missing"]), None);
    }

    #[test]
    fn nothing_is_skipped_that_is_demanded() {
        let fails = |required: Option<&str>| {
            let required = required.map(OsString::from);
            let skipped = || skip_or_fail("it is gone", required.as_deref());
            std::panic::catch_unwind(skipped).is_err()
        };
        assert!(!fails(None) && !fails(Some("0")) && !fails(Some("")));
        assert!(fails(Some("1")));
    }

    #[test]
    fn a_failure_is_no_success() {
        let sh = Tool::find_in(&OsString::from("/bin:/usr/bin"), "sh").expect("a shell");
        assert_eq!(sh.succeed(["-c", "echo $LC_ALL"]), "C\n");
        assert_eq!(sh.run(["-c", "exit 3"]).status.code(), Some(3));
        let failing = || sh.succeed(["-c", "exit 3"]);
        assert!(std::panic::catch_unwind(failing).is_err());
    }
}
