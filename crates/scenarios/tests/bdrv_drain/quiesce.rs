//! The counters.

use block_gs::drain_all;
use scenarios::{Pair, in_layer};

/// `/bdrv-drain/quiesce/drain_all`
#[test]
fn quiesce_drain_all() {
    in_layer(|bql| {
        let pair = Pair::new(bql);
        let section = drain_all(bql);
        // Its own, and as the parent of the other.
        assert_eq!(pair.quiesced(&section), (2, 1));
        assert_eq!(pair.front.root().quiesce_count(), 1);
        section.end();
        assert_eq!(pair.quiesced(bql), (0, 0));
        assert_eq!(pair.front.root().quiesce_count(), 0);
    });
}

/// `/bdrv-drain/quiesce/co/drain_all`: in a task, which asks the main loop.
#[test]
fn quiesce_co_drain_all() {
    in_layer(|bql| {
        let pair = Pair::new(bql);
        let (main, top, base) = (bql.main_loop(), pair.top.clone(), pair.base.clone());
        let task = bql.context().spawn(async move {
            let inside = main.call(move |bql| {
                let section = drain_all(bql);
                let counts = [&top, &base].map(|node| node.view(&section).quiesce_count());
                section.end();
                counts
            });
            inside.await
        });
        assert_eq!(bql.block_on(task), Ok([2, 1]));
        assert_eq!(pair.quiesced(bql), (0, 0));
    });
}

/// `/bdrv-drain/quiesce/co/drain`: in a task, which asks the main loop.
#[test]
fn quiesce_co_drain() {
    in_layer(|bql| {
        let pair = Pair::new(bql);
        let (main, top, base) = (bql.main_loop(), pair.top.clone(), pair.base.clone());
        let task = bql.context().spawn(async move {
            let below = base.clone();
            let of_top = top.drained_by(&main, move |section| {
                let top = section.node().view(section).quiesce_count();
                (top, below.view(section).quiesce_count())
            });
            let of_top = of_top.await?;
            let of_base = base.drained_by(&main, move |section| {
                let base = section.node().view(section).quiesce_count();
                (top.view(section).quiesce_count(), base)
            });
            Ok::<_, block_gs::MainLoopGone>((of_top, of_base.await?))
        });
        // Upwards, not downwards.
        assert_eq!(bql.block_on(task), Ok(((1, 0), (1, 1))));
        assert_eq!(pair.quiesced(bql), (0, 0));
    });
}
