//! Two programs that were given the same line.

use std::fmt::Debug;
use std::process::Output;

/// Compares what two programs have said and how they ended. `told` takes away
/// what differs from run to run; `line` is what they were given.
///
/// # Panics
/// At the first difference.
#[track_caller]
pub fn assert_alike<T: PartialEq + Debug>(
    found: &Output,
    expected: &Output,
    told: impl Fn(&[u8]) -> T,
    line: &impl Debug,
) {
    assert_eq!(told(&found.stdout), told(&expected.stdout), "{line:?}");
    assert_eq!(told(&found.stderr), told(&expected.stderr), "{line:?}");
    assert_eq!(found.status.code(), expected.status.code(), "{line:?}");
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::panic::catch_unwind;
    use std::process::ExitStatus;

    use super::*;

    fn output(stdout: &str, stderr: &str, code: i32) -> Output {
        Output {
            status: ExitStatus::from_raw(code << 8),
            stdout: stdout.into(),
            stderr: stderr.into(),
        }
    }

    #[test]
    fn each_difference_is_noticed_but_what_is_taken_away() {
        let first = output("7 things", "8", 1);
        let alike = |other: &Output| {
            let told = |bytes: &[u8]| bytes.iter().filter(|byte| !byte.is_ascii_digit()).count();
            catch_unwind(|| assert_alike(&first, other, told, &["line"])).is_ok()
        };
        assert!(alike(&output("9 things", "", 1)));
        assert!(!alike(&output("7 more things", "8", 1)));
        assert!(!alike(&output("7 things", "8 less", 1)));
        assert!(!alike(&output("7 things", "8", 0)));
    }
}
