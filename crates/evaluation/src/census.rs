//! Who may do what the compiler does not check: every `unsafe` of the
//! repository, and what it rests on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{ExprUnsafe, ItemImpl, ItemTrait, Safety, Signature};

use crate::{Failure, tree};

/// What one file has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// `unsafe { .. }`.
    pub blocks: usize,
    /// Functions that only the caller can make sound.
    pub functions: usize,
    /// `unsafe impl`.
    pub impls: usize,
    /// `unsafe trait`.
    pub traits: usize,
    /// Lines inside of blocks.
    pub lines: usize,
}

impl Count {
    /// Counts a source text.
    ///
    /// # Errors
    /// What the parser says.
    pub fn of(text: &str) -> Result<Count, syn::Error> {
        let mut count = Count::default();
        count.visit_file(&syn::parse_file(text)?);
        Ok(count)
    }

    fn is_empty(&self) -> bool {
        *self == Count::default()
    }

    fn add(&mut self, other: &Count) {
        self.blocks += other.blocks;
        self.functions += other.functions;
        self.impls += other.impls;
        self.traits += other.traits;
        self.lines += other.lines;
    }
}

impl<'ast> Visit<'ast> for Count {
    fn visit_expr_unsafe(&mut self, block: &'ast ExprUnsafe) {
        self.blocks += 1;
        let span = block.span();
        self.lines += 1 + span.end().line - span.start().line;
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_signature(&mut self, signature: &'ast Signature) {
        self.functions += usize::from(matches!(signature.safety, Safety::Unsafe(_)));
        visit::visit_signature(self, signature);
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        self.impls += usize::from(item.unsafety.is_some());
        visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        self.traits += usize::from(item.unsafety.is_some());
        visit::visit_item_trait(self, item);
    }
}

/// Lines with code: not empty, no comment.
fn lines_of_code(text: &str) -> usize {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

/// What the head of a fenced module says after its mark, up to the end of the
/// sentence.
fn rests_on(text: &str) -> String {
    let docs = text.lines().map_while(|line| line.strip_prefix("//!"));
    let docs: Vec<&str> = docs.map(str::trim).collect();
    let docs = docs.join(" ");
    let Some((_, said)) = docs.split_once("**Fenced module") else {
        return String::new();
    };
    let said = said.trim_start_matches(['*', '.', ',', ' ']);
    let end = said.find(". ").or_else(|| said.find(".  "));
    let said = said[..end.unwrap_or(said.len())]
        .trim()
        .trim_end_matches('.');
    without_links(said)
}

/// `[text](target)` as `text`: the targets are those of rustdoc.
fn without_links(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        result += before;
        let Some((name, after)) = link.split_once(']') else {
            return result + link;
        };
        result += name;
        rest = match after.strip_prefix('(').and_then(|t| t.split_once(')')) {
            Some((_, after)) => after,
            None => after,
        };
    }
    result + rest
}

/// The two tables: by file, by package.
///
/// # Errors
/// [`Failure`], also for a file that does not parse.
pub fn tables() -> Result<String, Failure> {
    let mut rows = String::from(
        "| module | blocks | lines in them | `unsafe fn` | `unsafe impl` | rests on |\n\
         |---|--:|--:|--:|--:|---|\n",
    );
    let mut packages: BTreeMap<String, (usize, Count)> = BTreeMap::new();
    let dirs = ["crates", "loom-tests", "ui-tests/src"];
    for dir in dirs {
        for name in tree::files(dir, "rs")? {
            let Some((package, within)) = name.split_once("/src/") else {
                continue;
            };
            let text = tree::read(&name)?;
            let count = Count::of(&text).map_err(|error| Failure::Content {
                path: tree::root().join(&name),
                what: error.to_string(),
            })?;
            let package = package.trim_start_matches("crates/");
            let sum = packages.entry(package.to_owned()).or_default();
            sum.0 += lines_of_code(&text);
            sum.1.add(&count);
            if !count.is_empty() {
                let _ = writeln!(
                    rows,
                    "| `{package}` `{within}` | {} | {} | {} | {} | {} |",
                    count.blocks,
                    count.lines,
                    count.functions,
                    count.impls + count.traits,
                    rests_on(&text).replace('|', "\\|"),
                );
            }
        }
    }
    let mut text = String::from(
        "| package | lines of code | unsafe blocks | per 1000 lines | lines in them |\n\
         |---|--:|--:|--:|--:|\n",
    );
    let mut all = (0, Count::default());
    for (package, (lines, count)) in &packages {
        all.0 += lines;
        all.1.add(count);
        summary(&mut text, &format!("`{package}`"), *lines, count);
    }
    summary(&mut text, "all", all.0, &all.1);
    Ok(format!("{text}\n{rows}"))
}

fn summary(text: &mut String, name: &str, lines: usize, count: &Count) {
    let share = 1000.0 * count.blocks as f64 / lines.max(1) as f64;
    let _ = writeln!(
        text,
        "| {name} | {lines} | {} | {share:.1} | {} |",
        count.blocks, count.lines
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted() {
        let text = "unsafe impl Send for X {}\nunsafe fn f() {}\nfn g() {\n    unsafe {\n        f()\n    }\n}\nunsafe trait T {}";
        let count = Count::of(text).expect("it parses");
        let expected = Count {
            blocks: 1,
            functions: 1,
            impls: 1,
            traits: 1,
            lines: 3,
        };
        assert_eq!(count, expected);
        assert!(Count::of("fn f() {}").expect("it parses").is_empty());
    }

    #[test]
    fn the_first_sentence_after_the_mark_is_the_reason() {
        let text = "//! A thing.\n//!\n//! **Fenced module.** It is [`Counted`](super::Counted), as long\n//! as it lasts. More.\n";
        assert_eq!(rests_on(text), "It is `Counted`, as long as it lasts");
        let text = "//! **Fenced module**, for the allocation. More.\n";
        assert_eq!(rests_on(text), "for the allocation");
        assert_eq!(rests_on("//! Nothing.\n"), "");
    }

    #[test]
    fn comments_are_no_code() {
        assert_eq!(lines_of_code("//! a\n\nfn f() {}\n    // b\n}"), 2);
    }
}
