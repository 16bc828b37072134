//! `inject`.

use std::time::Duration;

use block_common::error::errno;
use block_drivers::{Chance, Inject, Injected, Injector, NullCo, RequestKind, Stats};
use block_gs::{BqlGuard, Node};

use crate::support::{disk, flush, in_layer, read, write};

/// Trouble above a node that counts what gets there.
fn over_stats(bql: &mut BqlGuard, injector: &Injector) -> (Node, Node) {
    let null = NullCo::new(1 << 20).read_zeroes(true).open(bql, "");
    let stats = Stats::over(&null.expect("opened")).open(bql, "");
    let stats = stats.expect("opened");
    let node = Inject::over(&stats).injector(injector).open(bql, "");
    (node.expect("opened"), stats)
}

#[test]
fn it_does_nothing_until_it_is_told_to() {
    in_layer(|bql, _| {
        let injector = Injector::new(1);
        let (node, _) = over_stats(bql, &injector);
        let disk = disk(bql, &node);
        assert_eq!(node.io().length(), 1 << 20);
        assert_eq!(read(bql, &disk, 0, 100).expect("read"), [0; 100]);
        write(bql, &disk, 0, b"forgotten").expect("written");
        flush(bql, &disk).expect("flushed");
        assert_eq!(injector.injected(), Injected::default());
    });
}

#[test]
fn a_write_fails_before_the_child_hears_of_it_or_after_it_is_done() {
    in_layer(|bql, _| {
        let injector = Injector::new(2);
        let (node, stats) = over_stats(bql, &injector);
        let disk = disk(bql, &node);
        injector.set_errors(RequestKind::Write, Chance::ALWAYS, errno::ENOSPC);
        for _ in 0..100 {
            let failed = write(bql, &disk, 0, b"x").expect_err("told to fail");
            assert_eq!(failed.errno(), errno::ENOSPC);
            read(bql, &disk, 0, 1).expect("reads were not mentioned");
        }
        let injected = injector.injected();
        assert_eq!(injected.errors(RequestKind::Write), 100);
        assert_eq!(injected.errors(RequestKind::Read), 0);
        let write_at = RequestKind::Write as usize;
        let (before, after) = (injected.before[write_at], injected.after[write_at]);
        assert!(before > 20 && after > 20, "{injected:?}");
        let counters = stats.driver::<Stats>().expect("a stats node").counters();
        assert_eq!(counters.writes.requests, after);
        assert_eq!(counters.reads.requests, 100);

        injector.stop();
        write(bql, &disk, 0, b"x").expect("left alone");
        assert_eq!(injector.injected(), injected);
    });
}

#[test]
fn an_errno_that_is_none_is_an_io_error() {
    in_layer(|bql, _| {
        let injector = Injector::new(2);
        let (node, _) = over_stats(bql, &injector);
        let disk = disk(bql, &node);
        for errno in [0, -5, 4096, i32::MIN] {
            injector.set_errors(RequestKind::Flush, Chance::ALWAYS, errno);
            let failed = flush(bql, &disk).expect_err("told to fail");
            assert_eq!(failed.errno(), errno::EIO);
        }
    });
}

#[test]
fn an_error_of_the_child_is_passed_on_and_not_counted() {
    in_layer(|bql, _| {
        let (above, below) = (Injector::new(3), Injector::new(3));
        let (node, _) = over_stats(bql, &below);
        let node = Inject::over(&node).injector(&above).open(bql, "");
        let disk = disk(bql, &node.expect("opened"));
        below.set_errors(RequestKind::Read, Chance::ALWAYS, errno::ENOSPC);
        above.set_errors(RequestKind::Read, Chance::ALWAYS, errno::EIO);
        let mut seen = [0, 0];
        for _ in 0..50 {
            let failed = read(bql, &disk, 0, 1).expect_err("told to fail");
            seen[usize::from(failed.errno() == errno::ENOSPC)] += 1;
        }
        let counted = [&above, &below].map(|injector| injector.injected());
        assert_eq!(counted[0].errors(RequestKind::Read), seen[0]);
        assert_eq!(counted[1].errors(RequestKind::Read), seen[1]);
        assert!(seen[0] > 0 && seen[1] > 0);
    });
}

#[test]
fn a_delayed_request_is_waited_for_by_a_drain() {
    in_layer(|bql, _| {
        let injector = Injector::new(4);
        let (node, _) = over_stats(bql, &injector);
        let disk = disk(bql, &node);
        injector.set_delays(Chance::ALWAYS, Duration::from_millis(5));
        injector.set_later_turns(Chance::ALWAYS);
        for _ in 0..10 {
            let root = disk.root().clone();
            let begun = bql.context().spawn(async move { root.flush().await });
            bql.poll_until(|_| disk.root().in_flight() == 1);
            let section = node.drain(bql);
            assert_eq!(disk.root().in_flight(), 0);
            section.end();
            bql.block_on(begun).expect("flushed");
        }
        let injected = injector.injected();
        assert_eq!((injected.delays, injected.later), (10, 10));
    });
}

#[test]
fn it_is_switched_by_another_thread_while_requests_run() {
    in_layer(|bql, _| {
        let (node, _) = over_stats(bql, &Injector::new(5));
        let driver = node.driver::<Inject>().expect("an inject node");
        let injector = driver.injector().clone();
        let disk = disk(bql, &node);
        let other = std::thread::spawn({
            let injector = injector.clone();
            move || injector.set_errors(RequestKind::Read, Chance::once_in(3), errno::EIO)
        });
        let mut failed = 0;
        while failed < 10 {
            failed += u64::from(read(bql, &disk, 0, 1).is_err());
        }
        other.join().expect("no panic");
        assert_eq!(injector.injected().errors(RequestKind::Read), failed);
    });
}
