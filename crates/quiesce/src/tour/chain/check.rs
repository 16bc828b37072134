//! Looking whether an image is consistent.

use block_gs::{BqlGuard, IoError, Node};
use block_io::{CheckResult, Repairs, Request};

/// Checks an image in a drained section of its node, and repairs nothing.
/// Returns what is wrong with it, in words, if anything is.
///
/// # Errors
/// The check's own.
pub fn check(bql: &mut BqlGuard, node: &Node) -> Result<Option<String>, IoError> {
    let mut section = node.drain(bql);
    let found = section.io(async |request: Request<'_>| request.check(Repairs::empty()).await)?;
    Ok(findings(&found))
}

/// A cluster that is lost counts as wrong: nothing has crashed.
fn findings(found: &CheckResult) -> Option<String> {
    let CheckResult {
        corruptions,
        leaks,
        check_errors,
        ..
    } = *found;
    if (corruptions, leaks, check_errors) == (0, 0, 0) {
        return None;
    }
    Some(format!(
        "{corruptions} corruptions, {leaks} lost clusters, {check_errors} errors while checking"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_found_is_told() {
        assert_eq!(findings(&CheckResult::default()), None);
        for found in [
            CheckResult {
                corruptions: 3,
                ..CheckResult::default()
            },
            CheckResult {
                leaks: 3,
                ..CheckResult::default()
            },
            CheckResult {
                check_errors: 3,
                ..CheckResult::default()
            },
        ] {
            let words = findings(&found).expect("something is wrong");
            assert!(words.contains('3'), "{words}");
        }
    }
}
