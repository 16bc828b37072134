//! A section in the main thread over a node that lives elsewhere.

use std::sync::Arc;

use block_gs::{IoThread, drain_all};
use scenarios::{Manner, SIZE, Watch, backend, begin_read, in_layer, node};

/// `/bdrv-drain/iothread/drain_all`
#[test]
fn iothread_drain_all() {
    in_layer(|bql| {
        let [home, helper] = ["io-a", "io-b"].map(|name| IoThread::create(bql, name));
        let (home, helper) = (home.expect("a thread"), helper.expect("a thread"));
        let manner = Manner {
            reads_wait_for_drain: true,
            sleeps_elsewhere: Some(helper.context().clone()),
            ..Manner::of(SIZE)
        };
        let (disk, driver) = node(bql, "test-node", manner);
        let front = backend(bql, "test-blk", &disk);
        front.set_iothread(bql, Some(&home)).expect("moved");
        let read = begin_read(bql, &front, &driver, home.context());
        assert_eq!(front.root().in_flight(), 1);

        // In the home thread, in the middle of the section.
        let flushed = Arc::new(Watch::new(None));
        let (backend, answer) = (front.clone(), Arc::clone(&flushed));
        let context = home.context().clone();
        driver.on_drain(move |_| {
            context.schedule(move |home| {
                let outcome = backend.flush_blocking(home);
                answer.update(|flushed| *flushed = Some(outcome));
            });
        });

        let section = drain_all(bql);
        assert_eq!(front.root().in_flight(), 0);
        assert_eq!(driver.drain_count(), 1);
        section.end();
        bql.block_on(read).expect("read");
        bql.block_on(flushed.until(|flushed| flushed.is_some()));
        let flushed = flushed.update(Option::take).expect("there");
        flushed.expect("flushed");
    });
}
