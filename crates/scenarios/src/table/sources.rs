//! Which tests there are, as the sources have it.

use std::fs;
use std::path::{Path, PathBuf};

/// A test function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TestFn {
    /// Its name.
    pub name: String,
    /// What its documentation says.
    pub docs: String,
    /// The file, relative to this package.
    pub file: String,
}

/// Where this package is.
pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The tests of a suite: those in `tests/<suite>.rs`, or in the files of
/// `tests/<suite>/`. There are none where there is neither.
///
/// # Errors
/// That a file cannot be read.
pub fn tests_in(suite: &str) -> Result<Vec<TestFn>, String> {
    let single = PathBuf::from(format!("tests/{suite}.rs"));
    if package().join(&single).exists() {
        return tests_of(&single);
    }
    let directory = PathBuf::from("tests").join(suite);
    let Ok(entries) = fs::read_dir(package().join(&directory)) else {
        return Ok(Vec::new());
    };
    let mut tests = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| format!("{}: {error}", directory.display()))?;
        tests.extend(tests_of(&directory.join(entry.file_name()))?);
    }
    Ok(tests)
}

/// The tests of a file, whose path is relative to this package.
///
/// # Errors
/// That it cannot be read.
pub fn tests_of(file: &Path) -> Result<Vec<TestFn>, String> {
    let text = fs::read_to_string(package().join(file));
    let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(parse(&text, &file.display().to_string()))
}

fn parse(text: &str, file: &str) -> Vec<TestFn> {
    let mut tests = Vec::new();
    let mut docs = String::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            docs.push_str(words);
            docs.push('\n');
        } else if line == "#[test]" {
            is_test = true;
        } else if line.starts_with("#[") {
            // Another attribute of the same item.
        } else {
            let docs = std::mem::take(&mut docs);
            let name = line
                .strip_prefix("fn ")
                .and_then(|rest| rest.split('(').next());
            if let Some(name) = name.filter(|_| std::mem::take(&mut is_test)) {
                tests.push(TestFn {
                    name: name.to_owned(),
                    docs,
                    file: file.to_owned(),
                });
            }
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_and_other_functions_are_not() {
        let text = "/// Helps.\nfn helper() {}\n\n/// `/a/b`: does.\n/// More.\n#[test]\n\
                    #[should_panic]\nfn a_b() {}\n#[test]\nfn bare() {}\n";
        let found = parse(text, "x.rs");
        let short: Vec<_> = found
            .iter()
            .map(|test| (test.name.as_str(), test.docs.as_str()))
            .collect();
        assert_eq!(short, [("a_b", " `/a/b`: does.\n More.\n"), ("bare", "")]);
    }
}
