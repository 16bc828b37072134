//! Everything connected moves together, or nothing does.

use std::sync::Arc;

use block_gs::{Backend, GraphError, IoThread, NodeBuilder, Perm, Role};
use scenarios::{Failing, Job, Manner, SIZE, TestDriver, backend, in_layer, node};

/// `/propagate/basic`: a node of two children stands in for `blkverify`.
#[test]
fn propagate_basic() {
    in_layer(|bql| {
        let home = IoThread::create(bql, "io0").expect("a thread");
        let (a, _) = node(bql, "bs_a", Manner::of(SIZE));
        let (b, _) = node(bql, "bs_b", Manner::of(SIZE));
        let verify = NodeBuilder::new("verify")
            .child("test", &a, Role::DATA | Role::PRIMARY)
            .child("raw", &b, Role::DATA)
            .open(bql, Arc::new(TestDriver::new(Manner::of(SIZE))))
            .expect("opened");
        let front = Backend::new(bql, "blk", Perm::empty(), Perm::all()).expect("a backend");
        front.insert(bql, &a).expect("inserted");
        for to in [Some(&home), None] {
            front.set_iothread(bql, to).expect("moved");
            let context = to.map_or_else(|| bql.context().clone(), |to| to.context().clone());
            assert_eq!(front.root().context(), context);
            for node in [&verify, &a, &b] {
                assert_eq!(node.io().context(), context, "{node:?}");
            }
        }
    });
}

/// `/propagate/mirror`: the job and its filter, without what they copy.
#[test]
fn propagate_mirror() {
    in_layer(|bql| {
        let home = IoThread::create(bql, "io0").expect("a thread");
        let (source, _) = node(bql, "src", Manner::of(SIZE));
        let (target, _) = node(bql, "target", Manner::of(SIZE));
        let (filter, _) = node(bql, "filter_node", Manner::filter());
        source.drain(bql).append(&filter).expect("appended");
        let nodes = [&source, &target, &filter];
        let job = Job::start(bql, &nodes, Failing::Nothing, |_| {});
        let (there, here) = (home.context().clone(), bql.context().clone());

        source.set_iothread(bql, Some(&home)).expect("moved");
        for node in nodes {
            assert_eq!(node.io().context(), there, "{node:?}");
        }
        assert_eq!(job.context(), there);
        job.wait_for_rounds(bql, 2);

        target.set_iothread(bql, None).expect("moved");
        for node in nodes {
            assert_eq!(node.io().context(), here, "{node:?}");
        }
        assert_eq!(job.context(), here);

        let front = backend(bql, "blk", &source);
        let refused = target.set_iothread(bql, Some(&home));
        assert!(
            matches!(refused, Err(GraphError::ContextOfActiveBackend)),
            "{refused:?}"
        );
        assert_eq!(front.root().context(), here);
        for node in nodes {
            assert_eq!(node.io().context(), here, "{node:?}");
        }
        assert_eq!(job.context(), here);

        front.set_allow_context_change(bql, true);
        target.set_iothread(bql, Some(&home)).expect("allowed");
        assert_eq!(front.root().context(), there);
        for node in nodes {
            assert_eq!(node.io().context(), there, "{node:?}");
        }
        assert_eq!(job.context(), there);
        job.wait_for_rounds(bql, 2);
        assert_eq!(job.complete(bql), 0);
        assert_eq!(job.strays(), 0);
    });
}
