//! Who hears of a section, and that what is in flight ends first.

use block_gs::{BqlGuard, drain_all};
use block_io::aio::Wait;
use scenarios::{Pair, begin_read, in_layer};

/// Once while nothing is in flight, once with a read.
fn replay(section: impl Fn(&mut BqlGuard, &Pair)) {
    in_layer(|bql| {
        let pair = Pair::new(bql);
        section(bql, &pair);
        assert_eq!(pair.drain_counts(), (0, 0));

        let context = bql.context().clone();
        let read = begin_read(bql, &pair.front, &pair.top_driver, &context);
        assert_eq!(pair.front.root().in_flight(), 1);
        section(bql, &pair);
        assert_eq!(pair.drain_counts(), (0, 0));
        bql.block_on(read).expect("read");
        assert_eq!(pair.top_driver.reads(), 1);
    });
}

/// `/bdrv-drain/driver-cb/drain_all`
#[test]
fn driver_cb_drain_all() {
    replay(|bql, pair| {
        let (top, base) = (&pair.top_driver, &pair.base_driver);
        let before = (top.drain_begins(), base.drain_begins());
        let section = drain_all(bql);
        assert_eq!(pair.drain_counts(), (1, 1));
        assert_eq!(
            (top.drain_begins(), base.drain_begins()),
            (before.0 + 1, before.1 + 1)
        );
        assert_eq!(pair.front.root().in_flight(), 0);
        section.end();
    });
}

/// `/bdrv-drain/driver-cb/drain`
#[test]
fn driver_cb_drain() {
    replay(|bql, pair| {
        let before = pair.top_driver.drain_begins();
        let section = pair.top.drain(bql);
        assert_eq!(pair.drain_counts(), (1, 0), "not what lies below");
        assert_eq!(pair.top_driver.drain_begins(), before + 1);
        assert_eq!(pair.front.root().in_flight(), 0);
        section.end();
        assert_eq!(pair.base_driver.drain_begins(), 0);
    });
}

/// `/bdrv-drain/driver-cb/co/drain`: a task opens no section, it asks the
/// main loop for one and awaits what was done inside.
#[test]
fn driver_cb_co_drain() {
    replay(|bql, pair| {
        let (top, main) = (pair.top.clone(), bql.main_loop());
        let root = pair.front.root().clone();
        let driver = pair.top_driver.clone();
        let task = bql.context().spawn(async move {
            top.drained_by(&main, move |_| (driver.drain_count(), root.in_flight()))
                .await
        });
        while !task.is_finished() {
            bql.poll(Wait::Until(None));
        }
        assert_eq!(bql.block_on(task), Ok((1, 0)));
        assert_eq!(pair.base_driver.drain_begins(), 0);
    });
}
