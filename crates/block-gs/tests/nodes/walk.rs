//! Walks over nodes, and lookups.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use block_gs::{Backend, BlockDriver, BqlGuard, IoError, Node, NodeBuilder, NodeView, Perm, Walk};
use block_gs::{drain_all, flush_all, monitor_owned_nodes, named_nodes, top_nodes};
use block_io::{Destination, DriverIo, IoFuture, Request};

use crate::common::{Mem, backend, filter, in_layer, node};

fn names<'b>(views: impl Iterator<Item = NodeView<'b>>) -> Vec<&'b str> {
    views.map(NodeView::name).collect()
}

fn walked(bql: &BqlGuard, mut walk: Walk) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(node) = walk.next(bql) {
        names.push(node.name().to_owned());
    }
    names
}

#[test]
fn nodes_below_backends_come_first_and_each_once() {
    in_layer(|bql| {
        let (owned, _) = node(bql, "owned", Mem::of(512));
        let (both, _) = node(bql, "both", Mem::of(512));
        let (below, _) = node(bql, "below", Mem::of(512));
        let (_inner, _) = filter(bql, "above", &below);
        for node in [&owned, &both] {
            node.set_monitor_owned(bql);
        }
        let _one = backend(bql, "one", &both);
        let _two = backend(bql, "two", &both);
        assert_eq!(names(top_nodes(bql)), ["both", "owned"]);
        assert_eq!(walked(bql, Walk::over_top_nodes()), ["both", "owned"]);
        assert_eq!(names(monitor_owned_nodes(bql)), ["owned", "both"]);
        assert_eq!(names(named_nodes(bql)), ["above", "below", "both", "owned"]);
        let all = walked(bql, Walk::over_all());
        assert_eq!(all, ["owned", "both", "below", "above"]);
    });
}

#[test]
fn a_walk_goes_on_while_nodes_come_and_go() {
    in_layer(|bql| {
        for name in ["a", "b", "c"] {
            let (node, _) = node(bql, name, Mem::of(512));
            node.set_monitor_owned(bql);
        }
        let mut walk = Walk::over_all();
        let first = walk.next(bql).expect("a node");
        assert_eq!(first.name(), "a");
        first.delete(bql).expect("nobody uses it");
        let gone = Node::find(bql, "b").expect("still there");
        gone.delete(bql).expect("nobody uses it");
        bql.run_for(std::time::Duration::from_millis(1));
        let (_made, _) = node(bql, "d", Mem::of(512));
        assert_eq!(walk.next(bql).expect("a node").name(), "c");
        assert_eq!(walk.next(bql).expect("a node").name(), "d");
        assert!(walk.next(bql).is_none());
    });
}

#[test]
fn lookups_say_what_is_missing() {
    in_layer(|bql| {
        let (disk, _) = node(bql, "node0", Mem::of(512));
        let _sda = backend(bql, "sda", &disk);
        let _empty = Backend::new(bql, "cd", Perm::empty(), Perm::all()).expect("made");
        let look = |device, node| Node::lookup_by(bql, device, node);
        assert_eq!(look(Some("sda"), None).expect("found"), disk);
        assert_eq!(look(None, Some("node0")).expect("found"), disk);
        assert_eq!(look(Some("x"), Some("node0")).expect("found"), disk);
        let text = |device, node| look(device, node).expect_err("missing").to_string();
        assert_eq!(text(Some("cd"), None), "Device 'cd' has no medium");
        assert_eq!(
            text(None, Some("x")),
            "Cannot find device='' nor node-name='x'"
        );
        let both = Node::lookup(bql, "x").expect_err("missing").to_string();
        assert_eq!(both, "Cannot find device='x' nor node-name='x'");
    });
}

#[test]
fn flushing_everything_goes_on_after_an_error_and_reports_the_first() {
    in_layer(|bql| {
        let (one, first) = node(bql, "one", Mem::of(512));
        let failing = Arc::new(FailingFlush(AtomicUsize::new(0)));
        let broken = NodeBuilder::new("broken").open(bql, failing.clone());
        let broken = broken.expect("opened");
        let (two, last) = node(bql, "two", Mem::of(512));
        let (top, above) = filter(bql, "top", &two);
        let _backends = [&one, &broken, &top].map(|node| backend(bql, "", node));
        let (idle, unused) = node(bql, "idle", Mem::of(512));
        let failed = flush_all(bql).expect_err("one of them fails");
        assert_eq!(failed.errno(), 28);
        let flushes = |driver: &Mem| driver.flushes.load(Ordering::Relaxed);
        assert_eq!((flushes(&first), flushes(&above)), (1, 1));
        assert_eq!(failing.0.load(Ordering::Relaxed), 1);
        assert_eq!(flushes(&unused), 0, "nobody uses it");
        // Below the filter it is the filter's business.
        assert_eq!(flushes(&last), 0);
        idle.set_monitor_owned(bql);
        let mut section = drain_all(bql);
        let failed = section.with(flush_all).expect_err("still");
        section.end();
        assert_eq!(failed.errno(), 28);
        assert_eq!((flushes(&first), flushes(&unused)), (2, 1));
    });
}

struct FailingFlush(AtomicUsize);

impl DriverIo for FailingFlush {
    fn read<'r>(&'r self, _: Request<'r>, _: u64, _: Destination<'r>) -> IoFuture<'r> {
        IoFuture::done()
    }

    fn flush<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r> {
        self.0.fetch_add(1, Ordering::Relaxed);
        IoFuture::failed(IoError::from_errno(28))
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(512))
    }
}

impl BlockDriver for FailingFlush {
    fn format_name(&self) -> &'static str {
        "failing"
    }
}
