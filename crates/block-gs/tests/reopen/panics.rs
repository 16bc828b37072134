//! A driver that panics, wherever it is.

use std::panic::{AssertUnwindSafe, catch_unwind};

use block_gs::{BqlGuard, NodeOptions};

use crate::common::in_layer;
use crate::scribe::{Story, Trouble, letter, open, open_with, told, with_letter};

/// Reopens three nodes of which the middle one panics; what they were told,
/// and what is read from each afterwards.
fn reopened_with_a_panic_in(what: &'static str) -> (Vec<String>, Vec<u8>) {
    in_layer(|bql| {
        let story = Story::default();
        let nodes = [
            open(bql, &story, "one"),
            open_with(
                bql,
                &story,
                "two",
                Trouble::PanicsIn(what),
                NodeOptions::default(),
                None,
            ),
            open(bql, &story, "three"),
        ];
        let plans: Vec<_> = nodes
            .iter()
            .map(|node| with_letter(bql, node, b'b'))
            .collect();
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let mut section = nodes[0].drain(bql);
            let mut changes = section.transaction();
            for (node, plan) in nodes.iter().zip(plans) {
                changes.at(node).reopen(plan);
            }
            changes.commit().expect("nobody refuses");
        }));
        assert!(attempt.is_err(), "{what}");
        let mut story = told(&story);
        story.retain(|line| !line.starts_with("flush") && !line.starts_with("check"));
        let letters = nodes.iter().map(|node| {
            assert_eq!(node.view(bql).quiesce_count(), 0, "{what}");
            letter(bql, node)
        });
        (story, letters.collect())
    })
}

fn count(story: &[String], what: &str) -> usize {
    story.iter().filter(|line| line.starts_with(what)).count()
}

#[test]
fn before_the_decision_all_is_as_it_was() {
    let (story, letters) = reopened_with_a_panic_in("prepare");
    assert_eq!(story, ["prepare one", "prepare two", "abort one"]);
    assert_eq!(letters, *b"aaa");
    let (story, letters) = reopened_with_a_panic_in("check");
    assert_eq!(count(&story, "abort"), 3, "{story:?}");
    assert_eq!(count(&story, "commit"), 0, "{story:?}");
    assert_eq!(letters, *b"aaa");
}

#[test]
fn after_the_decision_the_others_go_on() {
    let (story, letters) = reopened_with_a_panic_in("commit");
    assert_eq!(count(&story, "commit"), 3, "{story:?}");
    assert_eq!(count(&story, "abort"), 0, "{story:?}");
    assert_eq!(count(&story, "set"), 3, "{story:?}");
    // The one that panicked had not come to its letter.
    assert_eq!(letters, *b"bab");
    let (story, letters) = reopened_with_a_panic_in("set");
    assert_eq!(count(&story, "set"), 3, "{story:?}");
    assert_eq!(count(&story, "unset"), 0, "{story:?}");
    assert_eq!(letters, *b"bbb");
}

/// What a panic has not reached can be used, and reopened, afterwards.
#[test]
fn what_is_left_can_be_reopened() {
    in_layer(|bql: &mut BqlGuard| {
        let story = Story::default();
        let bad = Trouble::PanicsIn("commit");
        let good = open(bql, &story, "good");
        let bad = open_with(bql, &story, "bad", bad, NodeOptions::default(), None);
        let plans = [with_letter(bql, &good, b'b'), with_letter(bql, &bad, b'b')];
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let mut section = good.drain(bql);
            let mut changes = section.transaction();
            let [first, second] = plans;
            changes.reopen(first);
            changes.at(&bad).reopen(second);
            let _ = changes.commit();
        }));
        assert!(attempt.is_err());
        let plan = with_letter(bql, &good, b'c');
        good.drain(bql).reopen(plan).expect("nobody minds");
        assert_eq!(letter(bql, &good), b'c');
    });
}
