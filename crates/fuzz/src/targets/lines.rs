//! Command lines: how they are taken apart, and what the tool `io` does with
//! its commands, over a device without contents.

use block_tools::getopt::{self, Known};
use block_tools::{human, io};

const KNOWN: &[Known] = &[
    Known::both('a', "all"),
    Known::both('l', "list").value(),
    Known::name("longer").value(),
    Known::name("long"),
];

/// What ends the process, waits, or touches files of this host.
const HARMFUL: &[&str] = &[
    "abort",
    "sigraise",
    "sleep",
    "open",
    "o",
    "wait_break",
    "break",
    "reopen",
];

/// How long a line of the tool may be.
const LONGEST: usize = 256;

pub(super) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let words: Vec<String> = text.split(['\0', '\n', ' ']).map(str::to_owned).collect();
    if let Ok(parsed) = getopt::parse(KNOWN, &words) {
        assert!(parsed.arguments.len() <= words.len());
        let _ = (
            parsed.has("all"),
            parsed.value("list"),
            parsed.values("longer").count(),
        );
    } else if let Err(error) = getopt::parse(KNOWN, &words) {
        assert!(!error.to_string().is_empty());
    }
    for line in text.lines().take(4) {
        if line.len() <= LONGEST && is_harmless(line) {
            let device = "driver=null-co,size=1M,read-zeroes=on".to_owned();
            let arguments = ["--image-opts", "-c", line].map(str::to_owned);
            let arguments: Vec<String> = arguments.into_iter().chain([device]).collect();
            let _ = io::main("io", &arguments);
        }
    }
}

fn is_harmless(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let name = words.next().unwrap_or_default();
    // A size asks for as much memory as it says; `-s` names a file.
    let is_small = |word: &str| {
        let largest = word
            .split(|at: char| !at.is_ascii_alphanumeric() && at != '.')
            .filter_map(|part| human::parse(part).ok())
            .max();
        largest.is_none_or(|size| size <= 1 << 20)
    };
    !HARMFUL.contains(&name)
        && words.all(|word| is_small(word) && !(word.starts_with('-') && word.contains('s')))
}
