//! Programs that are started.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::error::Failure;

/// A program on `PATH`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tool {
    name: &'static str,
    package: &'static str,
}

/// QEMU's tool for images.
pub const QEMU_IMG: Tool = Tool {
    name: "qemu-img",
    package: "qemu-utils",
};

/// QEMU's tool for requests.
pub const QEMU_IO: Tool = Tool {
    name: "qemu-io",
    package: "qemu-utils",
};

/// Copies files.
pub const CP: Tool = Tool {
    name: "cp",
    package: "coreutils",
};

/// Counts instructions.
pub const VALGRIND: Tool = Tool {
    name: "valgrind",
    package: "valgrind",
};

/// Says which functions they were in.
pub const CALLGRIND_ANNOTATE: Tool = Tool {
    name: "callgrind_annotate",
    package: "valgrind",
};

/// Builds.
pub const CARGO: Tool = Tool {
    name: "cargo",
    package: "cargo",
};

impl Tool {
    /// Where it is.
    ///
    /// # Errors
    /// [`Failure::NoTool`].
    pub fn path(self) -> Result<PathBuf, Failure> {
        self.in_path(&env::var_os("PATH").unwrap_or_default())
    }

    fn in_path(self, path: &OsStr) -> Result<PathBuf, Failure> {
        let mut files = env::split_paths(path).map(|directory| directory.join(self.name));
        files.find(|file| file.is_file()).ok_or(Failure::NoTool {
            tool: self.name,
            package: self.package,
        })
    }
}

/// How a command is named in messages.
pub fn describe(command: &Command) -> String {
    let mut words: Vec<OsString> = vec![command.get_program().to_owned()];
    words.extend(command.get_args().map(OsStr::to_owned));
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// The output of a command that succeeded.
///
/// # Errors
/// [`Failure::Command`] when it did not, or could not be started.
pub fn succeed(command: &mut Command) -> Result<Output, Failure> {
    let output = command.output().map_err(|error| Failure::Command {
        command: describe(command),
        message: error.to_string(),
    })?;
    check(command, output)
}

/// The output if the command succeeded.
///
/// # Errors
/// [`Failure::Command`] when it did not.
pub fn check(command: &Command, output: Output) -> Result<Output, Failure> {
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::Command {
        command: describe(command),
        message: format!("{}: {}", output.status, said.trim()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_named_with_its_package() {
        let missing = QEMU_IMG
            .in_path(OsStr::new("/nowhere"))
            .expect_err("missing");
        assert_eq!(
            missing.to_string(),
            "'qemu-img' is not on PATH; it comes with the package qemu-utils"
        );
    }

    #[test]
    fn what_a_failed_command_said_is_in_the_message() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no >&2; exit 3"]);
        let failure = succeed(&mut command).expect_err("failed").to_string();
        assert!(failure.contains("no") && failure.contains('3'), "{failure}");
    }
}
