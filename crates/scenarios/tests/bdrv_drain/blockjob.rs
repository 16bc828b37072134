//! A job pauses while any of its nodes is drained.

use block_common::error::errno;
use block_gs::{Backend, BqlGuard, IoThread, Node, drain_all};
use scenarios::{Failing, Job, Manner, SIZE, backend, in_layer, node, overlay};

#[derive(Clone, Copy)]
enum Section {
    All,
    Node,
}

struct Chain {
    /// Over the overlay.
    front: Backend,
    source: Node,
    /// Of the source.
    backing: Node,
    target: Node,
}

fn chain(bql: &mut BqlGuard) -> Chain {
    let (backing, _) = node(bql, "source-backing", Manner::of(SIZE));
    let (source, _) = overlay(bql, "source", &backing);
    let (top, _) = overlay(bql, "source-overlay", &source);
    let (target, _) = node(bql, "target", Manner::of(SIZE));
    Chain {
        front: backend(bql, "source-blk", &top),
        source,
        backing,
        target,
    }
}

fn replay(section: Section, iothread: bool, failing: Failing) {
    in_layer(|bql| {
        let chain = chain(bql);
        let home = iothread.then(|| IoThread::create(bql, "io0").expect("a thread"));
        let front = chain.front.clone();
        // It waits for I/O in the main loop, as the end of a job does.
        let prepare = move |bql: &mut BqlGuard| front.flush_blocking(bql).expect("flushed");
        let job = Job::start(bql, &[&chain.source, &chain.target], failing, prepare);
        if let Some(home) = &home {
            chain.front.set_iothread(bql, Some(home)).expect("moved");
            assert_eq!(chain.target.io().context(), *home.context());
            assert_eq!(job.context(), *home.context());
            job.wait_for_rounds(bql, 2);
        }
        for node in [&chain.source, &chain.backing, &chain.target] {
            match section {
                Section::All => {
                    let section = drain_all(bql);
                    assert_eq!(job.pause_count(), 2, "source and target");
                    assert!(job.is_paused());
                    section.end();
                }
                Section::Node => {
                    let section = node.drain(bql);
                    assert_eq!(job.pause_count(), 1, "{node:?}");
                    assert!(job.is_paused());
                    section.end();
                }
            }
            assert_eq!(job.pause_count(), 0);
            job.wait_until_resumed(bql);
            job.wait_for_rounds(bql, 2);
        }
        if home.is_some() {
            chain.front.set_iothread(bql, None).expect("moved");
            assert_eq!(chain.target.io().context(), *bql.context());
            assert_eq!(job.context(), *bql.context());
            job.wait_for_rounds(bql, 2);
        }
        let outcome = match failing {
            Failing::Nothing => 0,
            Failing::Run | Failing::Prepare => errno::EIO,
        };
        assert_eq!(job.complete(bql), outcome);
        assert_eq!(job.pause_count(), 0);
        assert_eq!(job.strays(), 0);
    });
}

/// `/bdrv-drain/blockjob/drain_all`
#[test]
fn blockjob_drain_all() {
    replay(Section::All, false, Failing::Nothing);
}

/// `/bdrv-drain/blockjob/drain`
#[test]
fn blockjob_drain() {
    replay(Section::Node, false, Failing::Nothing);
}

/// `/bdrv-drain/blockjob/error/drain`
#[test]
fn blockjob_error_drain() {
    replay(Section::Node, false, Failing::Run);
    replay(Section::Node, false, Failing::Prepare);
}

/// `/bdrv-drain/blockjob/iothread/drain_all`
#[test]
fn blockjob_iothread_drain_all() {
    replay(Section::All, true, Failing::Nothing);
}

/// `/bdrv-drain/blockjob/iothread/error/drain_all`
#[test]
fn blockjob_iothread_error_drain_all() {
    replay(Section::All, true, Failing::Run);
    replay(Section::All, true, Failing::Prepare);
}

/// `/bdrv-drain/blockjob/iothread/error/drain`
#[test]
fn blockjob_iothread_error_drain() {
    replay(Section::Node, true, Failing::Run);
    replay(Section::Node, true, Failing::Prepare);
}
