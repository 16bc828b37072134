//! Tables that other pages have, and this one repeats.

use crate::{Failure, tree};

/// A table of another page.
#[derive(Clone, Copy, Debug)]
pub struct Excerpt {
    /// The page, from the root of the repository.
    pub file: &'static str,
    /// What stands before the table there: it is the first one after.
    pub after: &'static str,
}

/// What became of QEMU's scenarios, in numbers.
pub const SCENARIOS: Excerpt = Excerpt {
    file: "crates/scenarios/README.md",
    after: "<!-- generated: begin -->",
};

/// How big proofs are.
pub const SIZES: Excerpt = Excerpt {
    file: "design/results.md",
    after: "### Sizes",
};

/// What the compiler makes of them.
pub const MACHINE_CODE: Excerpt = Excerpt {
    file: "design/results.md",
    after: "### Machine code with and without proofs",
};

/// What a crate full of them takes to compile.
pub const COMPILING: Excerpt = Excerpt {
    file: "design/results.md",
    after: "### Compiling with and without proofs",
};

impl Excerpt {
    /// The table, with its links to places in its page as plain text.
    ///
    /// # Errors
    /// [`Failure::File`]; [`Failure::Content`] when it is not there.
    pub fn table(self) -> Result<String, Failure> {
        let text = tree::read(self.file)?;
        first_table(&text, self.after).ok_or_else(|| Failure::Content {
            path: tree::root().join(self.file),
            what: format!("has no table after `{}`", self.after),
        })
    }
}

fn first_table(text: &str, after: &str) -> Option<String> {
    let (_, rest) = text.split_once(after)?;
    let lines = rest.lines().skip_while(|line| !line.starts_with('|'));
    let table: Vec<String> = lines
        .take_while(|line| line.starts_with('|'))
        .map(without_anchors)
        .collect();
    (!table.is_empty()).then(|| table.join("\n") + "\n")
}

/// `[text](#place)` as `text`.
fn without_anchors(line: &str) -> String {
    let mut result = String::new();
    let mut rest = line;
    while let Some((before, link)) = rest.split_once('[') {
        let parts = link.split_once("](#").and_then(|(name, target)| {
            let (_, after) = target.split_once(')')?;
            Some((name, after))
        });
        let Some((name, after)) = parts else {
            result += before;
            result.push('[');
            rest = link;
            continue;
        };
        result += before;
        result += name;
        rest = after;
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_table_after_the_words_is_taken() {
        let text = "| a |\n### Here\n\nWords.\n\n| [b](#c) | [d](e) |\n|---|\n\n| f |\n";
        let table = first_table(text, "### Here").expect("a table");
        assert_eq!(table, "| b | [d](e) |\n|---|\n");
        assert!(first_table(text, "### There").is_none());
        assert!(first_table("### Here\n", "### Here").is_none());
    }
}
