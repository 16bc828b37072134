//! The source files of the workspace.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Ident, Span, TokenStream, TokenTree};

/// A Rust file.
pub struct Source {
    /// Below the workspace.
    pub path: String,
    pub text: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    pub fn parse(&self) -> syn::File {
        syn::parse_file(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.path))
    }

    /// All identifiers outside comments, documentation and strings.
    pub fn idents(&self) -> Vec<Ident> {
        let tokens: TokenStream = self
            .text
            .parse()
            .unwrap_or_else(|error| panic!("{}: {error}", self.path));
        let mut found = Vec::new();
        collect_idents(tokens, &mut found);
        found
    }

    pub fn place(&self, span: Span) -> String {
        format!("{}:{}", self.path, span.start().line)
    }
}

fn collect_idents(tokens: TokenStream, found: &mut Vec<Ident>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => collect_idents(group.stream(), found),
            TokenTree::Ident(ident) => found.push(ident),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("the package is in the workspace")
}

/// The directories of the crates, those of tests included.
pub fn crates() -> Vec<PathBuf> {
    let entries = fs::read_dir(workspace().join("crates")).expect("crates/");
    let mut crates: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    crates.retain(|path| path.join("Cargo.toml").is_file());
    crates.sort();
    assert!(crates.len() >= 4, "there are fewer crates than there were");
    crates
}

/// The name of a crate's directory.
pub fn name(dir: &Path) -> &str {
    dir.file_name()
        .and_then(|name| name.to_str())
        .expect("UTF-8")
}

/// The Rust files below `dir`.
pub fn rust_files(dir: &Path) -> Vec<Source> {
    let mut files = files(dir);
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let read = |path: PathBuf| Source {
        text: fs::read_to_string(&path).expect("UTF-8"),
        path: relative(&path),
    };
    files.into_iter().map(read).collect()
}

/// All files below `dir`, but for what is built and what git keeps.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else {
        return found;
    };
    for entry in entries {
        let path = entry.expect("an entry").path();
        let is_skipped = ["target", ".git", "mutants.out"].contains(&name(&path));
        if path.is_dir() && !is_skipped {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A path as seen from the workspace.
pub fn relative(path: &Path) -> String {
    let path = path.strip_prefix(workspace()).unwrap_or(path);
    path.display().to_string()
}
