//! One panic, anywhere that is not the layer's own code, and then: is
//! everything still right, and does everything still work?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use block_gs::{BlockLayer, BqlGuard};
use block_io::aio::Wait;

use crate::check::check;
use crate::hooks::{Hooks, trapped};
use crate::program::{STEPS, World, works};

fn settle(bql: &mut BqlGuard) {
    // A panic may come out of a poll too.
    while trapped(|| while bql.poll(Wait::No) {}).is_none() {}
}

/// Runs the program with a panic at the `nth` call of foreign code. Says where
/// that was, or nothing if there are not so many calls.
fn run(nth: i64) -> Option<&'static str> {
    let hooks = Arc::new(Hooks::default());
    let layer = BlockLayer::new().expect("a block layer");
    let mut world = World::new(&hooks);
    let job = Arc::clone(&world.job);
    hooks.arm(nth);
    layer.enter(|bql| {
        let mut checked = false;
        for (name, step) in STEPS {
            trapped(|| step(&mut world, bql));
            settle(bql);
            if let Some(place) = hooks.panicked()
                && !checked
            {
                check(bql, &format!("call {nth}, '{place}', in '{name}'"));
                works(&world, bql);
                checked = true;
            }
        }
        check(bql, &format!("call {nth}, at the end"));
    });
    trapped(|| layer.enter(|_| world.front = None));
    // What is left is closed by the layer, also if somebody panics there.
    let place = hooks.panicked();
    let ended = trapped(|| drop(layer));
    assert!(ended.is_some() || place.is_none(), "call {nth}: twice");
    for node in std::mem::take(&mut world.nodes) {
        trapped(|| drop(node));
    }
    let drained = job.drained.load(Ordering::SeqCst);
    assert_eq!(drained, 0, "call {nth}: what the job heard");
    assert_eq!(hooks.unclosed(), 0, "call {nth}: drivers left open");
    hooks.panicked()
}

#[test]
fn one_panic_anywhere_breaks_nothing() {
    let mut places = BTreeMap::<&str, usize>::new();
    let mut nth = 1;
    while let Some(place) = run(nth) {
        *places.entry(place).or_default() += 1;
        nth += 1;
    }
    for place in ["commit", "abort", "drop"].map(|end| format!("{end} of a reopen")) {
        assert!(places.contains_key(&*place), "no {place}: {places:#?}");
    }
    assert!(places.len() > 40, "the program has lost some: {places:#?}");
}
