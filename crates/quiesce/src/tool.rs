//! QEMU's tools: as subcommands, and by their own names.
//!
//! A link to this program that is called `qemu-img` or `qemu-io` is one, so
//! scripts that look for it on their PATH run unchanged.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

/// What follows the name of a tool; the tool reads it by itself.
#[derive(Args, Debug)]
pub struct Line {
    /// The options and arguments of the tool (try --help)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

/// A tool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tool {
    /// `qemu-img`
    Img,
    /// `qemu-io`
    Io,
}

impl Tool {
    const ALL: [Tool; 2] = [Tool::Img, Tool::Io];

    /// The name of the subcommand.
    fn subcommand(self) -> &'static str {
        match self {
            Tool::Img => "img",
            Tool::Io => "io",
        }
    }

    /// What QEMU calls it, and what it calls itself in messages.
    fn name(self) -> &'static str {
        match self {
            Tool::Img => "qemu-img",
            Tool::Io => "qemu-io",
        }
    }
}

/// Runs a tool.
pub fn run(tool: Tool, arguments: &[String]) -> ExitCode {
    match tool {
        Tool::Img => block_tools::img::main(tool.name(), arguments),
        Tool::Io => block_tools::io::main(tool.name(), arguments),
    }
}

/// Runs the tool that the program was called as, if it was called as one.
pub fn main() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let program = arguments.next()?;
    let words: Vec<String> = arguments
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let called = Path::new(&program).file_name()?.to_str()?;
    let (tool, rest) = chosen(called, &words)?;
    Some(run(tool, rest))
}

/// By the name of the program, or by its first argument.
fn chosen<'a>(called: &str, words: &'a [String]) -> Option<(Tool, &'a [String])> {
    let find = |is: &dyn Fn(Tool) -> bool| Tool::ALL.into_iter().find(|tool| is(*tool));
    if let Some(tool) = find(&|tool| tool.name() == called) {
        return Some((tool, words));
    }
    let (first, rest) = words.split_first()?;
    Some((find(&|tool| tool.subcommand() == first)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_chosen_by_name_or_by_subcommand() {
        let words = ["io".to_owned(), "-c".to_owned()];
        assert_eq!(chosen("quiesce", &words), Some((Tool::Io, &words[1..])));
        assert_eq!(chosen("qemu-io", &words), Some((Tool::Io, &words[..])));
        let words = ["img".to_owned(), "info".to_owned()];
        assert_eq!(chosen("quiesce", &words), Some((Tool::Img, &words[1..])));
        assert_eq!(chosen("qemu-img", &words), Some((Tool::Img, &words[..])));
        assert_eq!(chosen("quiesce", &["tour".to_owned()]), None);
        assert_eq!(chosen("quiesce", &[]), None);
    }
}
