//! Twin of bad.rs: the struct keeps handles.

use block_gs::{BqlGuard, Node, NodeView, nodes};
use std::time::Duration;
use ui_tests::{in_main_loop, null};

struct Walk<I> {
    rest: I,
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let _nodes = [null(bql, "a"), null(bql, "b")];
        let all: Vec<Node> = nodes(bql)
            .map(|view: NodeView<'_>| view.node(bql))
            .collect();
        let mut walk = Walk {
            rest: all.into_iter(),
        };
        let first = walk.rest.next();
        bql.run_for(Duration::ZERO);
        assert_ne!(first, walk.rest.next());
        Ok(())
    });
}
