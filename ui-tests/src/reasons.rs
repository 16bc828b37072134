//! Does a case fail for the reason that it gives?
//!
//! `bad.rs` marks what it expects: a line `//~^ E0308 "words"` stands below the
//! offending one (`//~^^` two below, `//~` on it) and names the code, or words
//! of the message, or both. `bad.stderr` has what the compiler said, and
//! `tests/ui.rs` has checked that it says so today. This module compares the
//! two, so that accepting new words cannot accept another reason.

/// What the compiler said, once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Not an error.
    pub is_warning: bool,
    /// `E0308`; some errors have none.
    pub code: Option<String>,
    /// The first line, without the code.
    pub message: String,
    /// The line of `bad.rs` that it points at.
    pub line: Option<usize>,
    /// All of it.
    pub text: String,
}

impl Diagnostic {
    /// Splits what a compiler printed.
    pub fn parse_all(stderr: &str) -> Vec<Diagnostic> {
        let mut found: Vec<Diagnostic> = Vec::new();
        for line in stderr.lines() {
            if let Some(new) = Diagnostic::begin(line) {
                found.push(new);
            } else if let Some(current) = found.last_mut() {
                if current.line.is_none() {
                    current.line = line_in_bad_rs(line);
                }
                // The words of an annotation may be in the quoted source.
                let said = line.split("//~").next().unwrap_or_default();
                current.text.push('\n');
                current.text.push_str(said);
            }
        }
        found
    }

    fn begin(line: &str) -> Option<Diagnostic> {
        let is_warning = line.starts_with("warning");
        let rest = line
            .strip_prefix("error")
            .or_else(|| line.strip_prefix("warning"))?;
        let (code, message) = if let Some(message) = rest.strip_prefix(": ") {
            (None, message)
        } else {
            let (code, message) = rest.strip_prefix('[')?.split_once("]: ")?;
            (Some(code.to_owned()), message)
        };
        Some(Diagnostic {
            is_warning,
            code,
            message: message.to_owned(),
            line: None,
            text: line.to_owned(),
        })
    }
}

/// `  --> cases/x/bad.rs:16:25`
fn line_in_bad_rs(line: &str) -> Option<usize> {
    let place = line.trim_start().strip_prefix("--> ")?;
    let (_, position) = place.split_once("bad.rs:")?;
    position.split(':').next()?.parse().ok()
}

/// What a case expects on one of its lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    /// The offending line, from 1.
    pub line: usize,
    /// The code, if it must be a certain one.
    pub code: Option<String>,
    /// Words of the diagnostic, if it must contain some.
    pub words: Option<String>,
}

impl Expected {
    /// Reads the annotations of a source text.
    ///
    /// # Errors
    /// The first one that says nothing, or points above the file.
    pub fn parse_all(source: &str) -> Result<Vec<Expected>, String> {
        let annotated = source.lines().enumerate().filter_map(|(index, line)| {
            let (_, annotation) = line.split_once("//~")?;
            Some(Expected::parse(index + 1, annotation))
        });
        annotated.collect()
    }

    fn parse(at: usize, annotation: &str) -> Result<Expected, String> {
        let said = annotation.trim_start_matches('^');
        let up = annotation.len() - said.len();
        let line = at.checked_sub(up).filter(|&line| line > 0);
        let line = line.ok_or(format!("line {at}: the annotation points above the file"))?;
        let said = said.trim();
        let (code, words) = match said.split_once(' ') {
            _ if said.starts_with('"') => (None, Some(said)),
            Some((code, words)) => (Some(code), Some(words)),
            None => (Some(said), None),
        };
        let code = code.map(|code| {
            let digits = code.strip_prefix('E').filter(|digits| digits.len() == 4);
            let is_code = digits.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
            is_code.then(|| code.to_owned()).ok_or(code)
        });
        let words = words.map(|words| {
            let inner = words.strip_prefix('"').and_then(|w| w.strip_suffix('"'));
            inner
                .filter(|w| !w.is_empty())
                .map(str::to_owned)
                .ok_or(words)
        });
        let unreadable = |part| format!("line {at}: `{part}` is neither a code nor \"words\"");
        Ok(Expected {
            line,
            code: code.transpose().map_err(unreadable)?,
            words: words.transpose().map_err(unreadable)?,
        })
    }

    fn matches(&self, said: &Diagnostic) -> bool {
        let code = self.code.as_ref();
        let words = self.words.as_ref();
        !said.is_warning
            && said.line == Some(self.line)
            && code.is_none_or(|code| said.code.as_ref() == Some(code))
            && words.is_none_or(|words| said.text.contains(words.as_str()))
    }
}

/// Everything that is wrong with a case: its source, what the compiler said
/// about it, and the twin that compiles.
pub fn complaints(bad: &str, stderr: &str, good: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut said = Diagnostic::parse_all(stderr);
    let expected = Expected::parse_all(bad).unwrap_or_else(|error| {
        complaints.push(error);
        Vec::new()
    });
    if expected.is_empty() {
        complaints.push("bad.rs expects nothing".to_owned());
    }
    for expected in expected {
        match said.iter().position(|said| expected.matches(said)) {
            Some(index) => drop(said.remove(index)),
            None => complaints.push(format!("the compiler does not say {expected:?}")),
        }
    }
    for said in said {
        let kind = if said.is_warning { "warning" } else { "error" };
        let (line, message) = (said.line.unwrap_or(0), said.message);
        complaints.push(format!("unexpected {kind} in line {line}: {message}"));
    }
    if good.contains("//~") {
        complaints.push("good.rs expects an error".to_owned());
    }
    let changed = changed_lines(bad, good);
    if changed == 0 {
        complaints.push("good.rs is bad.rs".to_owned());
    }
    if changed > MOST_CHANGED_LINES {
        complaints.push(format!("good.rs differs in {changed} lines from bad.rs"));
    }
    complaints
}

/// A twin that differs in more says little about the reason.
const MOST_CHANGED_LINES: usize = 20;

/// How many lines are in one text only, headers, imports and annotations
/// aside.
pub fn changed_lines(bad: &str, good: &str) -> usize {
    fn code(text: &str) -> Vec<&str> {
        let lines = text
            .lines()
            .map(|line| line.split("//~").next().unwrap_or_default().trim());
        let ignored =
            |line: &str| line.is_empty() || line.starts_with("//!") || line.starts_with("use ");
        lines.filter(|line| !ignored(line)).collect()
    }
    let (bad, good) = (code(bad), code(good));
    // The length of the longest common subsequence, row by row.
    let mut row = vec![0; good.len() + 1];
    for bad_line in &bad {
        let mut diagonal = 0;
        for (index, good_line) in good.iter().enumerate() {
            let above = row[index + 1];
            row[index + 1] = if bad_line == good_line {
                diagonal + 1
            } else {
                above.max(row[index])
            };
            diagonal = above;
        }
    }
    bad.len() + good.len() - 2 * row[good.len()]
}

/// The words by which a message can name the proof that a rule is about: the
/// types, and the names under which the cases hold them. None for a rule that
/// is about no proof.
fn proofs(rule: &str) -> &'static [&'static str] {
    match rule {
        "R3" => &["BlockLayer"],
        "R5" => &["Drained", "section", "outer"],
        "R16" => &["Drained", "section", "outer", "FrozenChain"],
        "R6" => &["Drained", "section", "outer", "bql"],
        "R7" => &["BqlGuard", "bql", "section", "ReopenCommit"],
        "R15" => &["BqlGuard", "bql", "section"],
        "R8" | "R9" | "R20" => &["BqlGuard", "HomeThread", "MainOrHome"],
        "R10" => &["Request", "InFlight", "in_flight", "root"],
        // Memory that a request uses is lent to it like its count.
        "R11" => &["Request", "InFlight", "in_flight", "root", "buffer"],
        "R12" => &["BqlGuard", "GsAccess"],
        "R13" => &[
            "JobContext",
            "JobRun",
            "JobDriver",
            "CreatedJob",
            "AmendRun",
            "Drained",
            "BqlGuard",
            "job",
        ],
        "R17" => &[
            "Drained",
            "section",
            "Transaction",
            "changes",
            "PreparedReopen",
        ],
        "R18" => &[],
        "R19" => &[
            "BqlGuard",
            "GsAccess",
            "Drained",
            "Request",
            "NodeUid",
            "AmendReady",
            "home thread",
        ],
        _ => &["BqlGuard", "bql", "Request"],
    }
}

/// Whether a reader of the messages alone learns which proof is concerned.
/// The quoted source does not count, only what the compiler adds.
pub fn names_the_proof(rule: &str, stderr: &str) -> bool {
    let proofs = proofs(rule);
    let said = Diagnostic::parse_all(stderr);
    let mut lines = said.iter().flat_map(|said| said.text.lines());
    proofs.is_empty()
        || lines.any(|line| {
            let number = line.split_once('|').map_or("", |(number, _)| number.trim());
            let is_source = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            let is_place = line.contains("--> ");
            !is_source && !is_place && proofs.iter().any(|proof| line.contains(proof))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: &str =
        "//! Rule R1.\nfn main() {\n    take(1);\n    //~^ E0308 \"expected `&Proof`\"\n}\n";
    const GOOD: &str = "//! Twin.\nfn main() {\n    take(proof);\n}\n";
    const STDERR: &str = "error[E0308]: mismatched types\n --> cases/x/bad.rs:3:10\n  |\n3 |     take(1);\n  |          ^ expected `&Proof`, found integer\n";

    #[test]
    fn a_case_that_fails_for_its_reason_is_fine() {
        assert_eq!(complaints(BAD, STDERR, GOOD), [""; 0]);
    }

    #[test]
    fn another_code_is_noticed() {
        let swapped = BAD.replace("E0308", "E0502");
        let complaints = complaints(&swapped, STDERR, GOOD);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints[0].contains("E0502"));
        assert!(complaints[1].contains("unexpected error in line 3"));
    }

    #[test]
    fn other_words_are_noticed() {
        let other = BAD.replace("&Proof", "&Guard");
        assert_eq!(complaints(&other, STDERR, GOOD).len(), 2);
    }

    #[test]
    fn words_that_stand_only_in_the_quoted_annotation_do_not_count() {
        let bad = "fn main() {\n    take(1); //~ \"a reason of its own\"\n}\n";
        let stderr = "error: no\n --> cases/x/bad.rs:2:10\n  |\n2 |     take(1); //~ \"a reason of its own\"\n";
        assert_eq!(complaints(bad, stderr, GOOD).len(), 2);
    }

    #[test]
    fn another_line_is_noticed() {
        let moved = BAD.replace("//~^ ", "//~^^ ");
        assert_eq!(complaints(&moved, STDERR, GOOD).len(), 2);
    }

    #[test]
    fn a_second_error_is_noticed() {
        let twice = format!("{STDERR}\n{STDERR}");
        let complaints = complaints(BAD, &twice, GOOD);
        assert_eq!(complaints.len(), 1, "{complaints:?}");
    }

    #[test]
    fn a_warning_is_noticed() {
        let warned = format!("warning: unused\n --> cases/x/bad.rs:3:10\n\n{STDERR}");
        let complaints = complaints(BAD, &warned, GOOD);
        assert_eq!(complaints, ["unexpected warning in line 3: unused"]);
    }

    #[test]
    fn a_case_without_annotation_is_noticed() {
        let silent = BAD.replace("//~", "//");
        assert_eq!(complaints(&silent, STDERR, GOOD).len(), 2);
    }

    #[test]
    fn an_annotation_that_says_nothing_is_an_error() {
        for annotation in [
            "//~",
            "//~^^^ E0308",
            "//~ E03",
            "//~ E0308 words",
            "//~ \"\"",
        ] {
            assert!(Expected::parse_all(annotation).is_err(), "{annotation}");
        }
    }

    #[test]
    fn a_twin_that_is_the_same_or_another_program_is_noticed() {
        let same = BAD.lines().filter(|line| !line.contains("//~"));
        let same = same.collect::<Vec<_>>().join("\n");
        assert_eq!(complaints(BAD, STDERR, &same), ["good.rs is bad.rs"]);
        let other: String = (0..30).map(|n| format!("line_{n}();\n")).collect();
        assert!(complaints(BAD, STDERR, &other)[0].contains("differs"));
    }

    #[test]
    fn changes_are_counted_in_lines() {
        assert_eq!(changed_lines(BAD, GOOD), 2);
        assert_eq!(changed_lines("a\nb\nc", "a\nx\nb\nc"), 1);
        assert_eq!(changed_lines("use a;\nb", "use c;\nb"), 0);
    }

    #[test]
    fn quoted_source_names_no_proof() {
        let quoted = "error[E0599]: no method\n --> cases/x/bad.rs:3:9\n  |\n3 |     bql.x();\n  |         ^ method not found in `Node`\n";
        assert!(!names_the_proof("R1", quoted));
        let named = quoted.replace("`Node`", "`&mut BqlGuard`");
        assert!(names_the_proof("R1", &named));
        assert!(!names_the_proof("R5", &named));
    }
}
