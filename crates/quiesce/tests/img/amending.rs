//! Changing images that are there, as both tools do it: options, lengths,
//! snapshots. Every step is answered alike, and QEMU's tool finds nothing wrong
//! with what is left behind and reads the same from it.

use crate::both::{Place, ours, theirs, timeless};
use crate::lines::Line;

/// A step that begins so is QEMU's, whoever does the others.
const THEIRS: &str = "theirs";

/// Does each step of each sequence with both. Afterwards each image called `q`
/// is checked and compared by QEMU.
fn compare(sequences: &[&[Line]]) {
    let Some(theirs) = theirs() else {
        return;
    };
    for steps in sequences {
        let (mine, other) = (Place::new(ours()), Place::new(&theirs));
        for line in *steps {
            let step = format!("{line:?} of {steps:?}");
            let (found, expected) = match line.split_first() {
                Some((&THEIRS, line)) => (mine.run_by(&theirs, line), other.run_by(&theirs, line)),
                _ => (mine.run(line), other.run(line)),
            };
            assert_eq!(
                timeless(&found.stderr),
                timeless(&expected.stderr),
                "{step}"
            );
            assert_eq!(
                timeless(&found.stdout),
                timeless(&expected.stdout),
                "{step}"
            );
            assert_eq!(found.status.code(), expected.status.code(), "{step}");
        }
        for place in [&mine, &other] {
            let check = place.run_by(&theirs, &["check", "q"]);
            let text = String::from_utf8_lossy(&check.stdout).into_owned();
            assert!(check.status.success(), "{text} after {steps:?}");
        }
        let (found, expected) = (content(&mine, &theirs), content(&other, &theirs));
        assert!(
            found == expected,
            "what is read differs after {steps:?}: {} and {} bytes",
            found.len(),
            expected.len()
        );
    }
}

/// What QEMU reads in `q`, and in each snapshot of it.
fn content(place: &Place, theirs: &std::path::Path) -> Vec<u8> {
    let _ = place.run_by(theirs, &["convert", "-O", "raw", "q", "content"]);
    let mut all = std::fs::read(place.path("content")).unwrap_or_default();
    for id in ["1", "2", "3"] {
        let key = format!("snapshot.id={id}");
        let shown = place.run_by(
            theirs,
            &["convert", "-l", &key, "-O", "raw", "q", "content"],
        );
        if shown.status.success() {
            all.extend(std::fs::read(place.path("content")).expect("converted"));
        }
    }
    all
}
