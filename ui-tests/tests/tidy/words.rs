//! Words that do not belong into a finished text.

use std::fs;

use crate::assert_tidy;
use crate::source;

/// Put together here, so that this file does not contain them.
const FORBIDDEN: [&str; 9] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("todo", "!"),
    concat!("unimpl", "emented!"),
    concat!("#[ign", "ore"),
    concat!("/wo", "rk/"),
    concat!("/tmp", "/q"),
    concat!("sub", "agent"),
];

#[test]
fn nothing_is_left_to_do() {
    let mut complaints = Vec::new();
    let files = source::files(source::workspace());
    assert!(files.len() > 100, "there are fewer files than there were");
    for path in files {
        // Pictures and the like have no words.
        if let Ok(text) = fs::read_to_string(&path) {
            complaints.extend(check(&source::relative(&path), &text));
        }
    }
    assert_tidy(complaints);
}

fn check(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().enumerate();
    let mut complaints = Vec::new();
    for (index, line) in lines {
        for word in FORBIDDEN.iter().filter(|word| line.contains(**word)) {
            complaints.push(format!("{path}:{}: {word}", index + 1));
        }
    }
    complaints
}

#[test]
fn each_word_is_noticed() {
    for word in FORBIDDEN {
        let text = format!("fine\nhere is {word}\n");
        assert_eq!(check("x", &text), [format!("x:2: {word}")]);
    }
    assert_eq!(
        check("x", "a drained section, an ignored error, a work list"),
        [""; 0]
    );
}
