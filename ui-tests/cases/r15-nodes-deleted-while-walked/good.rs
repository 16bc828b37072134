//! Twin of bad.rs: the walk is over handles.

use block_gs::{BqlGuard, GraphError, Node, nodes};
use ui_tests::{in_main_loop, null};

fn delete_all(bql: &mut BqlGuard) -> Result<(), GraphError> {
    let all: Vec<Node> = nodes(bql).map(|view| view.node(bql)).collect();
    for node in all {
        node.delete(bql)?;
    }
    Ok(())
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        null(bql, "a").set_monitor_owned(bql);
        null(bql, "b").set_monitor_owned(bql);
        delete_all(bql)?;
        bql.poll_until(|bql| nodes(bql).count() == 0);
        Ok(())
    });
}
